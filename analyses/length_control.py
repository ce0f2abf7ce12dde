"""Preference at equal length: raw and length-controlled rates by policy (Fig. 10, App. F)."""
