"""Training runs: when they start, what they do, what they publish."""
