"""How many labels a choice of questions saves."""
