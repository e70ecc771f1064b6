"""What each version has over the one before it, prompt by prompt, and whether any of the falls is more than chance."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from msgspec import Struct

from thumbwheel_demo.report.intervals import PerPrompt, differences, paired_interval
from thumbwheel_demo.report.record import Interval, Report

Measure = Literal["satisfaction", "different, satisfying", "distinct-2, satisfying", "different", "distinct-2"]
DECIDING: tuple[Measure, ...] = ("satisfaction", "different, satisfying", "distinct-2, satisfying")
"""What must not fall."""
MEASURES: tuple[Measure, ...] = (*DECIDING, "different", "distinct-2")
"""The last two are shown beside them: of all answers they fall whenever wrong ones, each about another thing, give way
to right ones."""
Tables = Mapping[int, Mapping[Measure, Mapping[str, PerPrompt]]]
"""By seed, measure and version."""
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
    """After Holm's correction for all tests that decide, or for all that do not."""
    fell: bool


class Move(NamedTuple):
    """One measure of one seed, from one version to the next."""

    seed: int
    measure: Measure
    before: str
    after: str


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
    """Of the measures that decide, as the two counts before."""
    unmeasured: list[Measure]
    """Not in every report."""
    passed: bool
    """Nothing that decides fell, and everything was measured."""
    schema_version: int = 1


def turns_of(reports: Mapping[int, Report]) -> Turns:
    """Every measure from version to version, by seed; raises `ValueError` without reports."""
    if not reports:
        raise ValueError("no reports to read")
    tables = {seed: measured(report) for seed, report in reports.items()}
    known: list[Measure] = [
        m for m in MEASURES if all(tables[s][m].get(v.version) for s, r in reports.items() for v in r.versions)
    ]
    moves: list[Move] = [
        Move(seed, m, one.version, other.version)
        for seed, report in reports.items()
        for m in known
        for one, other in pairwise(report.versions)
        if tables[seed][m][one.version].keys() & tables[seed][m][other.version].keys()
    ]
    steps = [
        *_tested([m for m in moves if m.measure in DECIDING], tables),
        *_tested([m for m in moves if m.measure not in DECIDING], tables),
    ]
    deciding = [step for step in steps if step.measure in DECIDING]
    unmeasured: list[Measure] = [m for m in MEASURES if m not in known]
    fell = sum(step.fell for step in deciding)
    return Turns(
        seeds=list(reports),
        shipped=[len(report.versions) - 1 for report in reports.values()],
        turns=[len(report.gates) for report in reports.values()],
        first={m: [_mean(tables[s][m][r.versions[0].version]) for s, r in reports.items()] for m in known},
        last={m: [_mean(tables[s][m][r.versions[-1].version]) for s, r in reports.items()] for m in known},
        steps=steps,
        tests=len(deciding),
        level=LEVEL,
        below_level_alone=sum(step.p < LEVEL for step in deciding),
        fell=fell,
        unmeasured=unmeasured,
        passed=not fell and not unmeasured,
    )


def _tested(moves: Sequence[Move], tables: Tables) -> list[Step]:
    """All of these at once; a measure that not every prompt has is compared where both versions have it."""
    sides = [_both(tables[m.seed][m.measure][m.after], tables[m.seed][m.measure][m.before]) for m in moves]
    alone = [chance_of_fall(differences(*side)) for side in sides]
    return [
        Step(
            seed=move.seed,
            measure=move.measure,
            before=move.before,
            after=move.after,
            change=paired_interval(*side),
            p=p,
            p_of_all=of_all,
            fell=of_all < LEVEL,
        )
        for move, side, p, of_all in zip(moves, sides, alone, holm(alone), strict=True)
    ]


def _both(after: PerPrompt, before: PerPrompt) -> tuple[PerPrompt, PerPrompt]:
    shared = after.keys() & before.keys()
    return {k: v for k, v in after.items() if k in shared}, {k: v for k, v in before.items() if k in shared}


def measured(report: Report) -> dict[Measure, dict[str, dict[str, float]]]:
    """By measure, version and prompt."""
    return {
        "satisfaction": report.prompts,
        "different, satisfying": report.distinct_good_answers,
        "distinct-2, satisfying": report.distinct_good_bigrams,
        "different": report.distinct_answers,
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
