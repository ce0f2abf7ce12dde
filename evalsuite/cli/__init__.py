"""Thin commands: they read arguments, call a room, and print what it says."""
