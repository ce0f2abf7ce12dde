"""Mean rating against mean length by policy, with the slope per 100 characters (Fig. 4b, App. F)."""
