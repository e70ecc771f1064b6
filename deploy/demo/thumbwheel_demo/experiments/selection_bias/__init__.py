"""What the reward gets wrong because not everybody votes."""
