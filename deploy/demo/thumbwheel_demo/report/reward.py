"""The learner's figures on its reward model, in the report's own shape."""

from collections.abc import Mapping
from typing import Any, cast

EXPECTED = ("accuracy", "auc", "ece")


def flat_figures(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Estimates become a number and a pair `<name>_interval`; accuracy, auc and ece are always there, or None."""
    flat: dict[str, Any] = dict.fromkeys(EXPECTED)
    for name, value in figures.items():
        if isinstance(value, Mapping) and "mean" in value:
            estimate = cast(Mapping[str, Any], value)
            flat[name] = estimate["mean"]
            flat[f"{name}_interval"] = [estimate.get("low"), estimate.get("high")]
        else:
            flat[name] = value
    return flat
