"""Estimators: arrays in, `Estimate`s out. They know neither files nor models."""
