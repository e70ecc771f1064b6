"""How good predictions are: discrimination, calibration, and how sure one can be of either."""

# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# (numpy's stubs leave the element type of comparisons open; scipy's are partial)

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Array = NDArray[np.float64]
Indices = NDArray[np.intp]


class Estimate(NamedTuple):
    """A figure with its 95% interval; `n` observations behind it."""

    mean: float
    low: float
    high: float
    n: int


def auc(scores: Array, labels: Array) -> float:
    """P(a random positive scores above a random negative), ties half; nan unless both kinds are there."""
    positives, negatives = scores[labels > 0.5], scores[labels <= 0.5]
    if len(positives) == 0 or len(negatives) == 0:
        return float("nan")
    ordered = np.sort(negatives)
    below = np.searchsorted(ordered, positives, side="left")
    up_to = np.searchsorted(ordered, positives, side="right")
    return float((below + up_to).mean() / (2 * len(negatives)))


def brier(probabilities: Array, labels: Array) -> float:
    """Mean squared error of probabilities."""
    return float(np.mean((probabilities - labels) ** 2))


def ece(probabilities: Array, labels: Array, bins: int = 10) -> float:
    """Expected calibration error over bins of equal mass (Nixon et al. 2019, arXiv:1904.01685)."""
    parts = reliability(probabilities, labels, bins)
    return sum(abs(p["predicted"] - p["observed"]) * p["count"] for p in parts) / max(1, len(probabilities))


def reliability(probabilities: Array, labels: Array, bins: int = 10) -> list[dict[str, float]]:
    """Mean prediction, observed share and count of up to `bins` bins of equal mass, by rising prediction.

    Labels of equal probabilities are averaged first, so that no order among them is invented.
    """
    _, which = np.unique(probabilities, return_inverse=True)
    shares = (np.bincount(which, weights=labels) / np.bincount(which))[which] if len(which) else labels
    order = np.argsort(probabilities, kind="stable")
    parts = [p for p in np.array_split(order, min(bins, max(1, len(order)))) if len(p)]
    return [
        {"predicted": float(probabilities[p].mean()), "observed": float(shares[p].mean()), "count": len(p)}
        for p in parts
    ]


def confusion(probabilities: Array, labels: Array) -> dict[str, float]:
    """Accuracy, precision, recall and F1 of `probability > 0.5`."""
    said, true = probabilities > 0.5, labels > 0.5
    hit = float(np.sum(said & true))
    precision = hit / said.sum() if said.any() else 0.0
    recall = hit / true.sum() if true.any() else 0.0
    both = precision + recall
    return {
        "accuracy": float(np.mean(said == true)),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(2 * precision * recall / both) if both else 0.0,
    }


def correlation(x: Array, y: Array) -> float:
    """Pearson's; 0 when one of them does not vary."""
    if len(x) < 2 or x.std() == 0 or y.std() == 0:
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])


def numbered(keys: Iterable[Hashable]) -> NDArray[np.intp]:
    """A number from 0 for every key, in order of first appearance; equal keys have equal ones."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.intp)


def bootstrap(
    figure: Callable[[NDArray[np.intp]], float],
    clusters: Sequence[Hashable],
    *,
    resamples: int = 500,
    seed: int = 0,
) -> Estimate:
    """`figure` of all indices, with a percentile interval from resampling whole clusters (users, prompts).

    Resamples where the figure does not exist (one class only) are left out; with none left the interval is [nan, nan].
    """
    member = numbered(clusters)
    groups: list[NDArray[np.intp]] = [np.flatnonzero(member == i) for i in range(member.max(initial=-1) + 1)]
    everything = np.arange(len(member))
    if not groups:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    rng = np.random.default_rng(seed)
    values: list[float] = []
    for _ in range(resamples):
        drawn = rng.integers(len(groups), size=len(groups))
        value = figure(np.concatenate([groups[i] for i in drawn]))
        if np.isfinite(value):
            values.append(value)
    low, high = (float(np.quantile(values, q)) if values else float("nan") for q in (0.025, 0.975))
    return Estimate(figure(everything), low, high, len(member))


SHIFT_PRECISION = 4.0
"""Of the prior on a calibration's shift, 1 / variance in logits: a model knows its base rate from many more labels."""


LAPSE_PRIOR = (3.0, 30.0)
"""Beta prior of a lapse rate: some 6%, and hardly ever a quarter."""
MOST_LAPSES = 0.25


class Calibration(NamedTuple):
    """P = lapse + (1 − 2 · lapse) · sigmoid((logit + shift) / temperature)."""

    temperature: float
    shift: float
    lapse: float = 0.0
    """Chance of a label that has nothing to do with what it is about."""

    def apply(self, logits: Array) -> Array:
        """Probabilities."""
        return self.lapse + (1 - 2 * self.lapse) * sigmoid((logits + self.shift) / self.temperature)


def fit_calibration(logits: Array, labels: Array) -> Calibration:
    """The temperature > 0 (Guo et al. 2017, arXiv:1706.04599) and shift that make the labels most likely; 1 and 0
    without evidence.

    Both together are Platt's scaling (1999, *Probabilistic outputs for support vector machines*): a temperature alone
    would stretch the base rate, too. shift / temperature has a Gaussian prior. A grid in log T, which ends at
    [1/8, 8] and so keeps a small or separable sample from claiming certainty; Newton's method for the shift at each.
    """
    if len(logits) < 2 or labels.min() == labels.max():
        return Calibration(1.0, 0.0)
    grid: Array = np.exp(np.linspace(-np.log(8), np.log(8), 161))
    scaled = logits[None, :] / grid[:, None]
    moved: Array = np.zeros(len(grid))
    for _ in range(12):
        said = sigmoid(scaled + moved[:, None])
        slope = (said - labels[None, :]).sum(axis=1) + SHIFT_PRECISION * moved
        moved -= np.clip(slope / ((said * (1 - said)).sum(axis=1) + SHIFT_PRECISION), -1, 1)
    z = scaled + moved[:, None]
    losses = (np.logaddexp(0, z) - labels[None, :] * z).sum(axis=1) + SHIFT_PRECISION * moved**2 / 2
    best = int(np.argmin(losses))
    return Calibration(float(grid[best]), float(moved[best] * grid[best]))


def fit_with_lapses(logits: Array, labels: Array) -> Calibration:
    """The same for labels that people give by mistake, too: however sure the model is, some press the other thumb.

    Without a lapse rate a calibrated model can only be less sure of everything (in psychophysics: Wichmann and Hill
    2001, *The psychometric function I*). Maximum a posteriori by L-BFGS from several starts.
    """
    plain = fit_calibration(logits, labels)
    if len(logits) < 2 or labels.min() == labels.max():
        return plain
    alpha, beta = LAPSE_PRIOR

    def surprise(found: Array) -> float:
        log_temperature, moved, lapse = found
        up = lapse + (1 - 2 * lapse) * sigmoid(logits / np.exp(log_temperature) + moved)
        likely = labels * np.log(up) + (1 - labels) * np.log1p(-up)
        prior = (alpha - 1) * np.log(lapse) + (beta - 1) * np.log1p(-lapse) - SHIFT_PRECISION * moved**2 / 2
        return -float(likely.sum() + prior)

    ends = [(-np.log(8), np.log(8)), (-8.0, 8.0), (1e-3, MOST_LAPSES)]
    starts = [
        (np.clip(np.log(plain.temperature / faster), *ends[0]), plain.shift / plain.temperature, lapse)
        for faster in (1.0, 2.0, 4.0)
        for lapse in (0.02, 0.1)
    ]
    tried: list[Any] = [minimize(surprise, np.array(start), method="L-BFGS-B", bounds=ends) for start in starts]
    best: list[float] = min(tried, key=_value).x.tolist()
    temperature, moved, lapse = float(np.exp(best[0])), best[1], best[2]
    return Calibration(temperature, moved * temperature, lapse)


def _value(tried: Any) -> float:
    return float(tried.fun)


def sigmoid(x: Array) -> Array:
    """Logistic function, safe for large inputs."""
    return np.exp(-np.logaddexp(0, -x))
