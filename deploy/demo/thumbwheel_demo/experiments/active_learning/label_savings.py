"""What the curves say: with what share of the labels a choice of questions is as good as a random one."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (numpy's stubs leave the element type of reductions open)

from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import Struct

from thumbwheel_demo.experiments.active_learning.label_curves import Plan
from thumbwheel_demo.experiments.active_learning.linear_reward import Array
from thumbwheel_demo.report.record import Interval

Curves = Mapping[str, Sequence[Sequence[float]]]
"""By arm: for every seed, in one order, accuracy at every count of the grid."""
RESAMPLES = 2000
SEED = 20_011
BAR = 0.6
RISING = 0.02
"""What twice the labels must add to random choice, or there is little left to learn."""


class ArmSavings(Struct, frozen=True, kw_only=True):
    """One arm over all seeds; intervals redraw seeds, the same for arm and baseline."""

    arm: str
    accuracy: list[float]
    """Mean over seeds, at every count of the grid."""
    on_the_way: float
    """Its mean over the counts from half of the plan's labels to all of them."""
    final: Interval
    """Accuracy at the plan's labels."""
    gain: Interval
    """The same minus the baseline's."""
    ratio: Interval
    """Labels until the baseline's accuracy at the plan's labels is reached, by those that the baseline first reached it
    with (fewer, if it was already level); where it is not reached, the whole grid is put in: 2 and more says no more.
    """


class Savings(Struct, frozen=True, kw_only=True):
    """Everything about one set of seeds."""

    seeds: list[int]
    labels: list[int]
    """The grid."""
    baseline: str
    rising: Interval
    """What twice the labels add to the baseline's accuracy."""
    arms: list[ArmSavings]

    def of(self, name: str) -> ArmSavings:
        """One of the arms."""
        return next(arm for arm in self.arms if arm.arm == name)


def isotonic(values: Array) -> Array:
    """The nearest curve that never falls, by pooling neighbours that do (Barlow et al. 1972); keeps the mean."""
    blocks: list[tuple[float, int]] = []
    for value in values.tolist():
        mean, size = value, 1
        while blocks and blocks[-1][0] >= mean:
            before, count = blocks.pop()
            mean, size = (before * count + mean * size) / (count + size), count + size
        blocks.append((mean, size))
    return np.repeat([mean for mean, _ in blocks], [size for _, size in blocks])


def labels_to_reach(target: float, grid: Sequence[int], accuracy: Array) -> float:
    """First count at which the smoothed curve is at `target`, between the grid's points in proportion; else its end."""
    smooth = isotonic(accuracy)
    above = np.flatnonzero(smooth >= target)
    if not len(above):
        return float(grid[-1])
    k = int(above[0])
    if k == 0:
        return float(grid[0])
    share = (target - smooth[k - 1]) / (smooth[k] - smooth[k - 1])
    return float(grid[k - 1] + share * (grid[k] - grid[k - 1]))


def savings(curves: Curves, seeds: Sequence[int], plan: Plan, baseline: str) -> Savings:
    """Every arm against `baseline`."""
    stacked = {arm: np.asarray(found, dtype=np.float64) for arm, found in curves.items()}
    rng = np.random.default_rng(SEED)
    draws = rng.integers(0, len(seeds), size=(RESAMPLES, len(seeds)))
    at = plan.grid.index(plan.labels)
    base = stacked[baseline]
    return Savings(
        seeds=list(seeds),
        labels=plan.grid,
        baseline=baseline,
        rising=_mean(base[:, -1] - base[:, at], draws),
        arms=[
            ArmSavings(
                arm=arm,
                accuracy=found.mean(axis=0).tolist(),
                on_the_way=float(found[:, at // 2 : at + 1].mean()),
                final=_mean(found[:, at], draws),
                gain=_mean(found[:, at] - base[:, at], draws),
                ratio=_ratio(found, base, draws, plan),
            )
            for arm, found in stacked.items()
        ],
    )


def best_random(curves: Curves, plan: Plan) -> str:
    """The random arm that is better at the plan's labels: the one to beat."""
    at = plan.grid.index(plan.labels)
    return max((a for a in curves if a.startswith("random")), key=lambda a: float(np.mean([c[at] for c in curves[a]])))


def best_choice(found: Savings) -> str:
    """The arm that is most accurate on the way, random ones aside: a steadier figure than where it crosses a line."""
    return max((a for a in found.arms if not a.arm.startswith("random")), key=lambda a: a.on_the_way).arm


def _mean(values: Array, draws: np.ndarray) -> Interval:
    return _interval(float(values.mean()), values[draws].mean(axis=1))


def _ratio(found: Array, base: Array, draws: np.ndarray, plan: Plan) -> Interval:
    at = plan.grid.index(plan.labels)

    def of(seeds: np.ndarray) -> float:
        target = float(isotonic(base[seeds].mean(axis=0))[at])
        mine, theirs = (labels_to_reach(target, plan.grid, curves[seeds].mean(axis=0)) for curves in (found, base))
        return mine / theirs

    return _interval(of(np.arange(len(base))), np.array([of(seeds) for seeds in draws]))


def _interval(mean: float, resampled: Array) -> Interval:
    low, high = np.quantile(resampled, (0.025, 0.975))
    return Interval(mean=mean, low=float(low), high=float(high))
