"""What the commands have in common: how they end, what they write, the server that they start."""
