"""Arms against the base and against each other, paired over prompts and pooled over seeds."""

from collections.abc import Mapping
from statistics import fmean

from msgspec import Struct

from thumbwheel_demo.report.intervals import differences, pooled_interval
from thumbwheel_demo.report.record import Interval, Report

Reports = Mapping[tuple[str, int], Report]
CONTRASTS = (("full", "sft-only"), ("full", "thumbs-only"), ("thumbs-only", "thumbs-shuffled"))


class SeedFigures(Struct, frozen=True, kw_only=True):
    """One run, in short."""

    seed: int
    base: float
    last: float
    gain: Interval
    accepted: int
    turns: int
    chats: int
    lost: int
    truncated: int
    seconds: float
    labels: int


class ArmFigures(Struct, frozen=True, kw_only=True):
    """One arm over all its seeds."""

    arm: str
    gain: Interval
    """Last version against the base; prompts are redrawn within each seed."""
    seeds: list[SeedFigures]


class Contrast(Struct, frozen=True, kw_only=True):
    """What one arm has over another at its end, on the same prompts and seeds."""

    arm: str
    over: str
    difference: Interval
    by_seed: list[float]


class Comparison(Struct, frozen=True, kw_only=True):
    """Everything the experiments found."""

    arms: list[ArmFigures]
    contrasts: list[Contrast]
    failures: list[str]
    schema_version: int = 1


def compare(reports: Reports, failures: list[str]) -> Comparison:
    """Figures of every arm with a report, and every contrast whose two arms share a seed."""
    arms = list(dict.fromkeys(arm for arm, _ in reports))
    contrasts = [found for arm, over in CONTRASTS if (found := _contrast(reports, arm, over)) is not None]
    return Comparison(arms=[_arm(reports, arm) for arm in arms], contrasts=contrasts, failures=failures)


def _last(report: Report) -> Mapping[str, float]:
    return report.prompts[report.versions[-1].version]


def _base(report: Report) -> Mapping[str, float]:
    return report.prompts[report.versions[0].version]


def _arm(reports: Reports, arm: str) -> ArmFigures:
    mine = {seed: report for (name, seed), report in sorted(reports.items()) if name == arm}
    strata = [differences(_last(report), _base(report)) for report in mine.values()]
    return ArmFigures(arm=arm, gain=pooled_interval(strata), seeds=[_seed(seed, mine[seed]) for seed in mine])


def _seed(seed: int, report: Report) -> SeedFigures:
    return SeedFigures(
        seed=seed,
        base=report.versions[0].satisfaction.mean,
        last=report.versions[-1].satisfaction.mean,
        gain=report.versions[-1].gain,
        accepted=len(report.swaps),
        turns=len(report.gates),
        chats=report.chats.total,
        lost=report.chats.lost,
        truncated=report.chats.truncated,
        seconds=report.seconds_after_setup,
        labels=sum(report.feedback.values()),
    )


def _contrast(reports: Reports, arm: str, over: str) -> Contrast | None:
    seeds = sorted(seed for name, seed in reports if name == arm and (over, seed) in reports)
    if not seeds:
        return None
    strata = [differences(_last(reports[arm, seed]), _last(reports[over, seed])) for seed in seeds]
    return Contrast(arm=arm, over=over, difference=pooled_interval(strata), by_seed=[fmean(s) for s in strata])
