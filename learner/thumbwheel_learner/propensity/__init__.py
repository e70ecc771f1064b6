"""Who did not say it: how likely a conversation was to get the vote it got, so that votes can speak for the silent.

Formulas and sources: docs/algorithms/propensity.md.
"""
