"""A study as it is declared: composed by Hydra, planned, and looked up in a store."""
