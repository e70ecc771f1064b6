"""Who said it: how far each user's votes are to be trusted, and whose stay out until somebody has looked.

Formulas and sources: docs/algorithms/voters.md.
"""
