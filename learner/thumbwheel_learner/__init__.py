"""The learner half: from what people said to a better policy."""
