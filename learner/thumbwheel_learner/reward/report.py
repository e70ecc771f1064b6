"""What a reward model is worth on labels from after its training: the figures every refresh reports."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch, transformers and safetensors are partial; what leaves this file is typed)

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from thumbwheel_learner.measures import (
    Array,
    Calibration,
    Estimate,
    auc,
    bootstrap,
    brier,
    confusion,
    correlation,
    ece,
    fit_with_lapses,
    reliability,
    sigmoid,
)
from thumbwheel_learner.reward.labels import Item, Row

MIN_CALIBRATION = 30
"""Fewer held-out thumbs than this leave the logits as they are."""


class Scorer(Protocol):
    """The part of a reward model that a report needs."""

    center: Tensor
    thumb_bias: Any

    def score_rows(self, rows: Sequence[Row]) -> Any:
        """Scores of token rows."""
        ...


@dataclass(frozen=True)
class RewardReport:
    """Figures on the held-out newest labels; nan where there was nothing to measure them on."""

    accuracy: Estimate
    """Of all two-way decisions: pairs ordered rightly, thumbs on the right side of one half."""
    pair_accuracy: Estimate
    auc: Estimate
    """Of thumbs (and flags as down)."""
    ece: float
    """Of calibrated probabilities of a thumb up; calibration cross-fitted in two halves."""
    ece_uncalibrated: float
    calibration: list[dict[str, float]]
    """The reliability diagram behind `ece`: predicted, observed and count per bin."""
    brier: float
    precision: float
    recall: float
    f1: float
    length_correlation: float
    """Between score and answer length in tokens."""
    disagreement: float
    """Mean standard deviation over members, in units of the scores' own."""
    temperature: float
    shift: float
    """What calibration adds to the logits before the temperature."""
    lapse: float
    """Share of thumbs that are taken for mistakes."""
    n_train: int
    n_held_out: int
    train_loss: float
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """For manifests and reports: plain numbers, None for what does not exist."""
        return {k: _plain(v) for k, v in asdict(self).items()} | {
            k: {f: _plain(x) for f, x in getattr(self, k)._asdict().items()}
            for k in ("accuracy", "pair_accuracy", "auc")
        }


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value


def report_on(
    reward: Scorer, train: Sequence[Item], test: Sequence[Item], *, train_loss: float, seconds: float
) -> RewardReport:
    """Score the held-out items once and measure everything on them."""
    rows = [row for item in test for row in item.rows]
    scores = reward.score_rows(rows) if rows else None
    mean: Array = scores.mean.double().numpy() if scores else np.zeros(0)
    firsts = np.cumsum([0, *(len(i.rows) for i in test)])[:-1].astype(int)
    lengths = np.array([len(r.answer) for r in rows], dtype=float)
    thumbs = [n for n, i in enumerate(test) if i.kind in ("thumb", "flag")]
    pairs = [n for n, i in enumerate(test) if i.kind == "pair" and i.value != 0.5]
    offset = float((reward.center + reward.thumb_bias.detach()).mean())
    logits = mean[firsts[thumbs]] + offset if thumbs else np.zeros(0)
    labels = np.array([test[n].value for n in thumbs])
    probabilities, calibration = cross_calibrated(logits, labels)
    right_pairs = np.array([float(mean[firsts[n]] > mean[firsts[n] + 1]) for n in pairs])
    decided = np.concatenate([right_pairs, ((probabilities > 0.5) == (labels > 0.5)).astype(float)])
    sides = confusion(probabilities, labels) if thumbs else {}
    users = [test[n].user for n in pairs], [test[n].user for n in thumbs]
    nan = float("nan")
    return RewardReport(
        accuracy=bootstrap(lambda i: float(decided[i].mean()), users[0] + users[1]),
        pair_accuracy=bootstrap(lambda i: float(right_pairs[i].mean()), users[0]),
        auc=bootstrap(lambda i: auc(logits[i], labels[i]), users[1]),
        ece=ece(probabilities, labels) if thumbs else nan,
        ece_uncalibrated=ece(sigmoid(logits), labels) if thumbs else nan,
        calibration=reliability(probabilities, labels) if thumbs else [],
        brier=brier(probabilities, labels) if thumbs else nan,
        precision=sides.get("precision", nan),
        recall=sides.get("recall", nan),
        f1=sides.get("f1", nan),
        length_correlation=correlation(mean, lengths),
        disagreement=float(scores.std.mean() / mean.std()) if scores and mean.std() > 0 else nan,
        temperature=calibration.temperature,
        shift=calibration.shift,
        lapse=calibration.lapse,
        n_train=len(train),
        n_held_out=len(test),
        train_loss=train_loss,
        seconds=seconds,
    )


def cross_calibrated(logits: Array, labels: Array) -> tuple[Array, Calibration]:
    """Probabilities whose calibration comes from the other half, and the calibration of all for later use."""
    if len(logits) < MIN_CALIBRATION:
        return sigmoid(logits), Calibration(1.0, 0.0)
    probabilities = np.zeros(len(logits))
    for half in (0, 1):
        mine, other = np.arange(len(logits)) % 2 == half, np.arange(len(logits)) % 2 != half
        probabilities[mine] = fit_with_lapses(logits[other], labels[other]).apply(logits[mine])
    return probabilities, fit_with_lapses(logits, labels)
