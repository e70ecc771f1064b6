"""What PPO makes of a reward learned from mistaken people: gold against proxy, one member or several, KL or none."""
