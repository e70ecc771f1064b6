"""PPO on LoRA: the loop, its formulas, its state."""
