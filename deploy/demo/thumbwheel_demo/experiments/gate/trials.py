"""What the gate said of each candidate, kept one by one, and how often it said yes to each kind."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import msgspec
from msgspec import Struct

from thumbwheel_demo.experiments.gate.candidates import (
    GAINS,
    PooledEngine,
    Remembered,
    kl_to_live,
    satisfaction,
    tilted,
)
from thumbwheel_demo.experiments.gate.desk import Desk, DeskOptions
from thumbwheel_demo.experiments.gate.trained import try_negated
from thumbwheel_demo.report.intervals import wilson_interval
from thumbwheel_demo.report.record import Interval
from thumbwheel_learner.gate.config import GateConfig
from thumbwheel_learner.gate.evaluate import judge_gate
from thumbwheel_learner.gate.exam import make_exam
from thumbwheel_learner.gate.safety import PROMPTS
from thumbwheel_learner.model.lora import LoraConfig
from thumbwheel_learner.model.policy import PolicyModel

TRAINED = "trained"
"""Not a choice among sampled answers: trained on the negated reward."""
BARS: Mapping[str, tuple[float, float]] = {
    "identical": (0.0, 0.05),
    "negated": (0.0, 0.01),
    "better": (0.8, 1.0),
    TRAINED: (0.0, 0.01),
}
"""Between which the share of accepted candidates must lie."""


class Trial(Struct, frozen=True, kw_only=True):
    """One candidate at the gate."""

    seed: int
    kind: str
    number: int
    options: dict[str, int]
    """What else decided it: trials of other options are not counted."""
    accepted: bool
    reasons: list[str]
    true_win_rate: float
    """A half plus half of what it satisfies more."""
    satisfied: tuple[float, float]
    """Share of customers, live and candidate."""
    kl: float
    """To the live policy, over the pool's answers."""
    verdict: dict[str, Any]


class KindFigures(Struct, frozen=True, kw_only=True):
    """One kind of candidate over all seeds."""

    kind: str
    candidates: int
    accepted: Interval
    """Share, with Wilson's 95% interval; candidates of one seed share its judge, which it does not count."""
    bar: tuple[float, float]
    met: bool
    by_seed: dict[int, float]
    true_win_rate: float
    win_rate: float
    """Mean of what the gate said."""
    spread: float
    """Standard deviation of what it said, over candidates and judges."""
    half_width: float
    """Mean distance of what it said from its lower end: 1.96 times the spread, if the gate knows its own error."""


class GateFigures(Struct, frozen=True, kw_only=True):
    """Everything the experiment found."""

    kinds: list[KindFigures]
    options: dict[str, int]
    seeds: list[int]
    seconds: float
    schema_version: int = 1


def options_of(desk: DeskOptions, config: GateConfig) -> dict[str, int]:
    """What decides a trial, beside seed, kind and number."""
    return {
        "chats": desk.chats,
        "answers": desk.answers,
        "prompts": config.prompts,
        "answers_per_prompt": config.answers_per_prompt,
        "resamples": config.resamples,
        "intent_prompts": config.min_intent_prompts,
        "safety_prompts": len(PROMPTS),
    }


def planned(candidates: int, seeds: Sequence[int]) -> list[tuple[int, int]]:
    """(seed, number among its own) of so many candidates of a kind, dealt out over the seeds in turn.

    Thus a call for one seed and its share of the candidates tries what a call for all the seeds would.
    """
    return [(seed, n // len(seeds)) for n, seed in zip(range(candidates), cycle(seeds), strict=False)]


class Trials:
    """A file of trials, one a line, those of these options in memory too."""

    def __init__(self, file: Path, options: dict[str, int]) -> None:
        """Read what earlier calls have tried; a last line that was cut off is left out."""
        self.options = options
        self.done: dict[tuple[int, str, int], Trial] = {}
        self._file = file
        for line in file.read_bytes().splitlines() if file.is_file() else []:
            try:
                trial = msgspec.json.decode(line, type=Trial)
            except msgspec.MsgspecError:
                continue
            if trial.options == options:
                self.done[trial.seed, trial.kind, trial.number] = trial

    def add(self, trial: Trial) -> None:
        """Keep one more, on a line of its own."""
        with self._file.open("ab") as file:
            file.write(b"\n" + msgspec.json.encode(trial) + b"\n")
        self.done[trial.seed, trial.kind, trial.number] = trial

    def of(self, seed: int) -> list[Trial]:
        """Those of one seed."""
        return [trial for trial in self.done.values() if trial.seed == seed]


def try_candidates(
    model: PolicyModel,
    desk: Desk,
    seed: int,
    todo: Sequence[tuple[str, int]],
    trials: Trials,
    config: GateConfig,
    folder: Path,
) -> None:
    """Put candidates (kind, number) of one desk before the gate; each is kept once it is decided.

    Their adapters change nothing, so that KL and the likelihood of golden answers have nothing to say: one prompt is
    enough for the first, the second is left out.
    """
    sat = desk.pool.satisfied
    chances = {kind: tilted(sat, gain) for kind, gain in GAINS.items()}
    engine = PooledEngine(desk.pool, chances)
    judge = desk.judge and desk.judge._replace(model=Remembered(desk.judge.model))
    adapters = {kind: _adapter(model, folder / kind) for kind in chances}
    live = float(sat.mean())
    for kind, number in todo:
        if kind == TRAINED:
            trials.add(_trained(model, desk, seed, number, trials.options, config, folder))
            continue
        drawn = replace(config, seed=seed * 100_003 + number, kl_prompts=1)
        exam = replace(make_exam(model, desk.evidence.judge, drawn), golden=())
        verdict = judge_gate(model, None, adapters[kind], judge, exam, engine, drawn, disjoint=desk.evidence.disjoint)
        satisfied = satisfaction(sat, chances[kind])
        trials.add(
            Trial(
                seed=seed,
                kind=kind,
                number=number,
                options=trials.options,
                accepted=verdict.accepted,
                reasons=verdict.reasons,
                true_win_rate=0.5 + (satisfied - live) / 2,
                satisfied=(live, satisfied),
                kl=kl_to_live(chances[kind]),
                verdict=verdict.as_dict(),
            )
        )


def _trained(
    model: PolicyModel, desk: Desk, seed: int, number: int, options: dict[str, int], config: GateConfig, folder: Path
) -> Trial:
    tried = try_negated(model, desk, number, config, folder)
    live, candidate = tried.satisfied
    return Trial(
        seed=seed,
        kind=TRAINED,
        number=number,
        options=options,
        accepted=tried.verdict.accepted,
        reasons=tried.verdict.reasons,
        true_win_rate=0.5 + (candidate - live) / 2,
        satisfied=tried.satisfied,
        kl=tried.kl,
        verdict=tried.verdict.as_dict(),
    )


def _adapter(model: PolicyModel, folder: Path) -> Path:
    """A folder for the engine to know the candidate by; its weights change nothing."""
    model.add(folder.name, LoraConfig())
    model.save(folder.name, folder)
    model.remove(folder.name)
    return folder


def figures(trials: Sequence[Trial]) -> list[KindFigures]:
    """Each kind that was tried."""
    return [_figures(kind, mine) for kind in BARS if (mine := [t for t in trials if t.kind == kind])]


def _figures(kind: str, mine: Sequence[Trial]) -> KindFigures:
    share = wilson_interval(sum(t.accepted for t in mine), len(mine))
    low, high = BARS[kind]
    rates = [t.verdict["win_rate"] for t in mine if t.verdict["win_rate"]["mean"] is not None]
    means = [rate["mean"] for rate in rates] or [float("nan")]
    return KindFigures(
        kind=kind,
        candidates=len(mine),
        accepted=share,
        bar=(low, high),
        met=low <= share.mean <= high,
        by_seed={s: fmean(t.accepted for t in mine if t.seed == s) for s in sorted({t.seed for t in mine})},
        true_win_rate=fmean(t.true_win_rate for t in mine),
        win_rate=fmean(means),
        spread=pstdev(means),
        half_width=fmean([rate["mean"] - rate["low"] for rate in rates] or [float("nan")]),
    )
