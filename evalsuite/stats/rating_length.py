"""Length and ratings: the least-squares line of rating on length within a policy (App. E, F)."""
