"""How often the learner's gate errs: the real gate on candidates whose worth is known."""
