"""The over-optimisation experiment over all seeds, against its bars."""

from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import Struct

from thumbwheel_demo.experiments.overoptimisation.curves import Array, Curve, Path, curve_of, path_of
from thumbwheel_demo.experiments.overoptimisation.desk import Plan
from thumbwheel_demo.experiments.overoptimisation.runs import ARMS, Cell
from thumbwheel_demo.report.intervals import crossed_interval
from thumbwheel_demo.report.record import Interval

BEYOND = 2.0
"""How many times as far as the single model's peak the arms without KL have to go."""

FREE = [name for name, arm in ARMS.items() if not arm.kl]
HELD = [name for name, arm in ARMS.items() if arm.kl]


class ArmFigures(Struct, frozen=True, kw_only=True):
    """One arm over all seeds, by distance and at its end."""

    distance: list[float]
    """√KL, √nats per answer."""
    gold: list[float]
    proxy: list[float]
    peak: float
    """Distance at which the mean gold is highest,"""
    peak_gold: Interval
    final_distance: list[float]
    """By seed."""
    final_gold: Interval
    reach: list[float]
    """The farthest by seed."""
    stopped: list[str | None]


class Summary(Struct, frozen=True, kw_only=True):
    """Everything the experiment found; intervals redraw seeds and prompts, which all seeds share."""

    plan: Plan
    seeds: list[int]
    auc: list[float | None]
    start: Interval
    """Gold of the demo policy."""
    arms: dict[str, ArmFigures]
    peak: float
    """√KL at which the single model without KL is best, mean over seeds,"""
    peak_gold: float
    peak_error: float
    """and the standard error of its gold there, over seeds."""
    beyond: dict[str, bool]
    """Whether every seed of an arm without KL goes past twice the peak's √KL."""
    there: dict[str, Interval]
    """Gold of these arms at twice the peak's √KL; empty where a seed of either does not come so far."""
    gain_there: Interval | None
    """Ensemble less single, paired by seed and prompt."""
    gain_there_by_seed: list[float]
    kept: dict[str, Interval]
    """Final gold with KL less the single model's peak, paired by seed and prompt."""
    bars: dict[str, bool]
    passed: bool
    schema_version: int = 1


def summary(cells: Sequence[Cell]) -> Summary:
    """All seeds that have every arm; raises `ValueError` where there is none."""
    by_arm = {name: {c.seed: c for c in cells if c.arm == name} for name in ARMS}
    seeds = [seed for seed in sorted(by_arm["single"]) if all(seed in found for found in by_arm.values())]
    if not seeds:
        raise ValueError("no seed has all arms")
    whole = {name: [found[seed] for seed in seeds] for name, found in by_arm.items()}
    paths = {name: [path_of(c) for c in found] for name, found in whole.items()}
    curves = {name: curve_of(found) for name, found in paths.items()}
    finals = {name: _final(found) for name, found in whole.items()}
    single = curves["single"]
    top = single.peak()
    peak, peak_gold = float(single.distance[top]), single.gold[:, top]
    beyond = {name: all(p.reach > BEYOND * peak for p in paths[name]) for name in FREE}
    there = gold_there(paths, BEYOND * peak) if all(beyond.values()) else None
    gain = None if there is None else there["ensemble"] - there["single"]
    bars = _bars(peak > 0 and all(beyond.values()), gain, float(peak_gold.mean()) - single.error(top), finals)
    return Summary(
        plan=cells[0].plan,
        seeds=seeds,
        auc=[c.auc for c in whole["single"]],
        start=crossed_interval(single.gold[:, 0]),
        arms={name: _arm(whole[name], paths[name], curves[name], finals[name]) for name in ARMS},
        peak=peak,
        peak_gold=float(peak_gold.mean()),
        peak_error=single.error(top),
        beyond=beyond,
        there={} if there is None else {name: crossed_interval(gold) for name, gold in there.items()},
        gain_there=None if gain is None else crossed_interval(gain),
        gain_there_by_seed=[] if gain is None else gain.mean(axis=1).tolist(),
        kept={name: crossed_interval(finals[name] - peak_gold) for name in HELD},
        bars=bars,
        passed=all(bars.values()),
    )


def _bars(far: bool, gain: Array | None, enough: float, finals: Mapping[str, Array]) -> dict[str, bool]:
    """`gain` [S, P] ensemble less single at twice the peak's √KL, `finals` [S, P] by arm."""
    return {
        "both arms without KL go past twice the peak's √KL": far,
        "there the ensemble's gold exceeds the single model's": gain is not None and bool(gain.mean() > 0),
        **{
            f"{name}: final gold at least the peak less one standard error": bool(finals[name].mean() >= enough)
            for name in HELD
        },
    }


def gold_there(paths: Mapping[str, Sequence[Path]], distance: float) -> dict[str, Array]:
    """[S, P] gold of the arms without KL at that distance."""
    return {name: np.array([p.gold_at(distance) for p in paths[name]]) for name in FREE}


def _final(cells: Sequence[Cell]) -> Array:
    """[S, P] gold of the policies that the runs wrote."""
    return np.array([[c.kept.gold[name] for name in sorted(c.kept.gold)] for c in cells])


def _arm(cells: Sequence[Cell], paths: Sequence[Path], curve: Curve, final: Array) -> ArmFigures:
    top = curve.peak()
    return ArmFigures(
        distance=curve.distance.tolist(),
        gold=curve.gold.mean(axis=(0, 2)).tolist(),
        proxy=curve.proxy.mean(axis=0).tolist(),
        peak=float(curve.distance[top]),
        peak_gold=crossed_interval(curve.gold[:, top]),
        final_distance=[c.kept.kl**0.5 for c in cells],
        final_gold=crossed_interval(final),
        reach=[p.reach for p in paths],
        stopped=[c.stopped for c in cells],
    )
