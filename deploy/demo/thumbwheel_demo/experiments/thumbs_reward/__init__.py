"""What the reward model makes of simulated people's thumbs: against the oracle, and what its options change."""
