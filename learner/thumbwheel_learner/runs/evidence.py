"""Whether there is enough to go by: a turn of the wheel on nothing but chance teaches chance."""

from collections.abc import Mapping
from typing import Any

MIN_CHECKED = 6
"""Held-out labels below which even a perfect order has a chance above 5% of being luck."""
FIGURES = {"auc": "AUC", "pair_accuracy": "share of pairs in the right order"}


def not_shown(figures: Mapping[str, Any]) -> str | None:
    """Why no policy must learn from this reward model; None where it orders people's newest answers by more than luck.

    Its AUC on the held-out newest thumbs counts, or the share of pairs in the right order where there are no thumbs of
    both kinds; the lower end of the 95% interval over people must lie above one half.
    """
    for name, words in FIGURES.items():
        found = figures[name]
        if found["mean"] is None:
            continue
        if found["n"] < MIN_CHECKED:
            return f"the reward model could not be checked: {found['n']} newest labels, needs {MIN_CHECKED}"
        low = found["low"]
        if low is not None and low > 0.5:
            return None
        at_least = f", at least {low:.2f}" if low is not None else ""
        return (
            f"the reward model is not shown to be better than chance on live answers: {words} {found['mean']:.2f}"
            f"{at_least}, on the {found['n']} newest labels"
        )
    return "the reward model could not be checked: the held-out labels are too few or all alike"


def unusable(found: Mapping[str, Any], base: str) -> str | None:
    """Why no policy can learn from this reward model: what its row or its stage says of it; None where one can."""
    if "skipped" in found:
        return f"there is no reward model: {found['skipped']}"
    if found["sees"] != "training" or found["base"] != base:
        return f"{found['id']} cannot be used here (it saw the judge's labels, or another base); train it anew"
    return not_shown(found)
