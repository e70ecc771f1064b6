"""What each version has over the one before it, prompt by prompt, and whether any of the falls is more than chance."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
from msgspec import Struct

from thumbwheel_demo.report.intervals import differences, paired_interval
from thumbwheel_demo.report.record import Interval, Report

Measure = Literal["satisfaction", "distinct answers", "distinct-2"]
MEASURES: tuple[Measure, ...] = ("satisfaction", "distinct answers", "distinct-2")
FLIPS, SEED = 20_000, 20_013
LEVEL = 0.05
"""Chance of calling any fall significant where there is none, over all tests together."""


class Step(Struct, frozen=True, kw_only=True):
    """One measure from one version to the next."""

    seed: int
    measure: Measure
    before: str
    after: str
    change: Interval
    """Paired over the held-out prompts."""
    p: float
    """One-sided, of so deep a fall by chance."""
    p_of_all: float
    """After Holm's correction for all tests."""
    fell: bool


class Turns(Struct, frozen=True, kw_only=True):
    """Everything that was found in these reports."""

    seeds: list[int]
    shipped: list[int]
    """Versions after the base, by seed; so is what follows."""
    turns: list[int]
    first: dict[Measure, list[float]]
    last: dict[Measure, list[float]]
    steps: list[Step]
    tests: int
    level: float
    below_level_alone: int
    """Falls with p below 0.05 before the correction; a twentieth of the tests is what chance gives."""
    fell: int
    unmeasured: list[Measure]
    """Not in every report."""
    passed: bool
    """Nothing fell, and everything was measured."""
    schema_version: int = 1


def turns_of(reports: Mapping[int, Report]) -> Turns:
    """Every measure from version to version, by seed; raises `ValueError` without reports."""
    if not reports:
        raise ValueError("no reports to read")
    tables = {seed: measured(report) for seed, report in reports.items()}
    known: list[Measure] = [m for m in MEASURES if all(tables[seed][m] for seed in reports)]
    moves: list[tuple[int, Measure, str, str]] = [
        (seed, m, one.version, other.version)
        for seed, report in reports.items()
        for m in known
        for one, other in pairwise(report.versions)
    ]
    sides = [(tables[seed][m][after], tables[seed][m][before]) for seed, m, before, after in moves]
    alone = [chance_of_fall(differences(*side)) for side in sides]
    corrected = holm(alone)
    steps = [
        Step(
            seed=seed,
            measure=m,
            before=before,
            after=after,
            change=paired_interval(*side),
            p=p,
            p_of_all=of_all,
            fell=of_all < LEVEL,
        )
        for (seed, m, before, after), side, p, of_all in zip(moves, sides, alone, corrected, strict=True)
    ]
    unmeasured: list[Measure] = [m for m in MEASURES if m not in known]
    fell = sum(step.fell for step in steps)
    return Turns(
        seeds=list(reports),
        shipped=[len(report.versions) - 1 for report in reports.values()],
        turns=[len(report.gates) for report in reports.values()],
        first={m: [_mean(tables[s][m][r.versions[0].version]) for s, r in reports.items()] for m in known},
        last={m: [_mean(tables[s][m][r.versions[-1].version]) for s, r in reports.items()] for m in known},
        steps=steps,
        tests=len(steps),
        level=LEVEL,
        below_level_alone=sum(p < LEVEL for p in alone),
        fell=fell,
        unmeasured=unmeasured,
        passed=not fell and not unmeasured,
    )


def measured(report: Report) -> dict[Measure, dict[str, dict[str, float]]]:
    """By measure, version and prompt."""
    return {
        "satisfaction": report.prompts,
        "distinct answers": report.distinct_answers,
        "distinct-2": report.distinct_bigrams,
    }


def chance_of_fall(changes: Sequence[float]) -> float:
    """One-sided p of a mean as low as this if before and after were alike: signs flipped at random, prompt by prompt
    (Fisher 1935, *The Design of Experiments*, section 21), the observed signs counted among the flips."""
    values = np.asarray(changes, dtype=np.float64)
    values = values[values != 0]
    if not len(values):
        return 1.0
    signs = np.random.default_rng(SEED).integers(0, 2, size=(FLIPS, len(values)), dtype=np.int8) * 2 - 1
    return float((1 + (signs @ values <= values.sum() + 1e-9).sum()) / (1 + FLIPS))


def holm(chances: Sequence[float]) -> list[float]:
    """p-values that may each be held against the level of all tests together (Holm 1979, Scand. J. Statist. 6)."""
    adjusted, highest = [0.0] * len(chances), 0.0
    for rank, i in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        highest = max(highest, min(1.0, (len(chances) - rank) * chances[i]))
        adjusted[i] = highest
    return adjusted


def _mean(values: Mapping[str, float]) -> float:
    return float(np.mean(list(values.values())))
