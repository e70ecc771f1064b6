"""What PPO gains or loses by credit to single words."""
