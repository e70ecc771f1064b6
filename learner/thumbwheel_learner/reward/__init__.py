"""The reward model: what it trains on, its training, its report."""
