"""PPO against what is cheaper: corrections alone, best of n under the same reward model, and DPO."""
