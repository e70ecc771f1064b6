"""Training in several processes: how they stay of one mind, how they share the base, who leads and who follows."""
