"""A bound on what any one user can weigh, however much they vote."""

import numpy as np

from thumbwheel_learner.measures import Array

ROUNDS = 200


def capped(loads: Array, *, multiple: float, floor: float, share: float) -> Array:
    """[users] factor at most 1 on each of a user's labels, from `loads` [users], the number of labels of each.

    Together a user's labels then weigh at most `multiple` times what the median user gives (or `floor` labels, where
    that is more) and at most `share` of all that is left. Where there are too few users for that share, the smallest
    bound that can be kept holds: everybody weighs the same.
    """
    if not len(loads):
        return np.ones(0)
    bound = max(multiple * float(np.median(loads)), floor)
    least = float(loads.min())
    for _ in range(ROUNDS):
        allowed = max(least, share * float(np.minimum(loads, bound).sum()))
        if allowed >= bound * (1 - 1e-9):
            break
        bound = allowed
    return np.minimum(1.0, bound / np.maximum(loads, 1.0))
