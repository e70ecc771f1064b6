"""Whether a run gained anything by what it maximised itself."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportAttributeAccessIssue=false
# (the stubs of scipy are partial and take linregress for a plain tuple; what leaves this file is typed)

from collections.abc import Mapping, Sequence

from scipy.stats import linregress

from thumbwheel_learner.ppo.config import PpoConfig

LEAST = 12
"""Iterations; the trend of fewer tells nothing."""


def went_nowhere(history: Sequence[Mapping[str, float]], config: PpoConfig) -> str | None:
    """Why nothing of a finished run is worth keeping; None where its objective rose or that cannot be told.

    The objective is the score less the price of likeness, in standard deviations of the reference's scores; its
    iterations' means are regressed on their number, and the slope is tested against 0, one-sided.
    """
    if len(history) < LEAST or config.rise >= 1:
        return None
    objective = [h["score"] - config.diversity * h["resemblance"] for h in history]
    trend = linregress(range(len(objective)), objective, alternative="greater")
    if trend.pvalue < config.rise:
        return None
    gained = float(trend.slope) * (len(objective) - 1)
    return (
        f"what it maximises was not shown to rise in {len(objective)} iterations"
        f" ({gained:+.2f} standard deviations, p {float(trend.pvalue):.2f})"
    )
