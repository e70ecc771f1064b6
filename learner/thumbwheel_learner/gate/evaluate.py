"""The gate: may this policy ship? A judge that never saw the candidate's teachers compares it with the live one.

The judge is a reward model with adapters and heads of its own, trained on users, conversations and prompts that
reward, SFT and PPO did not see (`labels.split_evidence`), and checked against the labels of the others.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch and numpy are partial; what leaves this file is typed)

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from thumbwheel_learner.dataset.examples import LoggedPrompt, as_sent
from thumbwheel_learner.gate.drift import distances, distinct, length_ratio, missing_end, repeating
from thumbwheel_learner.gate.judge import Judge, judged_win_rate
from thumbwheel_learner.measures import Estimate
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.progress import Progress, silent
from thumbwheel_learner.reward.labels import prompt_key
from thumbwheel_learner.reward.model import RewardConfig
from thumbwheel_learner.rollouts.engine import Rollout, RolloutEngine


@dataclass(frozen=True)
class GateConfig:
    """What a candidate must show, and with how much evidence."""

    judge: RewardConfig = field(default_factory=lambda: RewardConfig(held_out=0.0, seed=7919))
    judge_share: float = 0.3
    """Share of users whose labels go to the judge instead of the reward model."""
    prompts: int = 400
    min_prompts: int = 24
    answers_per_prompt: int = 2
    max_prompt: int = 384
    max_tokens: int = 64
    temperature: float = 1.0
    batch_tokens: int = 6144
    min_judge_labels: int = 30
    """Labels the judge must have been trained on, and as many to check it with."""
    min_win_rate: float = 0.5
    """What the win rate must be shown to be above; with less than a half, a candidate may be that much worse."""
    max_kl: float = 60.0
    """To the live policy, nats per answer."""
    max_kl_base: float = 120.0
    """To the base model: the cap of the lineage."""
    length_ratio: tuple[float, float] = (0.5, 1.6)
    """Bounds of the mean length of answers that came to their end, candidate over live."""
    more_repetition: float = 0.05
    """By how much the share of answers that repeat themselves may rise."""
    more_missing_end: float = 0.05
    """By how much the share of answers cut off at `max_tokens` may rise."""
    resamples: int = 300
    seed: int = 0


@dataclass(frozen=True)
class Verdict:
    """The written answer of the gate."""

    accepted: bool
    reasons: list[str]
    """Why not; or, when accepted, what spoke for it."""
    win_rate: Estimate
    """P(the judge prefers the candidate's answer to the live policy's), over prompts; the interval counts the judge."""
    judge_quality: Estimate
    judge_labels: int
    disjoint: tuple[str, ...]
    """What the judge's labels do not share with those of the reward model."""
    kl: float
    kl_base: float
    length_ratio: float
    repetition: tuple[float, float]
    """Share of answers with a repeated four-gram: live, candidate."""
    missing_end: tuple[float, float]
    distinct: tuple[float, float]
    """Share of answers that differ from all others: live, candidate."""
    prompts: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """For manifests: plain JSON, None for what does not exist."""
        plain = asdict(self) | {"win_rate": self.win_rate._asdict(), "judge_quality": self.judge_quality._asdict()}
        return _without_nan(plain)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def gate_prompts(model: PolicyModel, prompts: Sequence[LoggedPrompt], config: GateConfig) -> list[list[int]]:
    """Held-out prompts as token ids: each once, a fresh draw per seed, at most `config.prompts`; none redacted."""
    unique = list({prompt_key(p.messages): p for p in as_sent(prompts)}.values())
    order: list[int] = torch.randperm(len(unique), generator=torch.Generator().manual_seed(config.seed)).tolist()
    ids = (unique[i].prompt_token_ids or model.tokens.prompt_ids(unique[i].messages) for i in order)
    return [p for p in ids if 0 < len(p) <= config.max_prompt][: config.prompts]


def judge_gate(
    model: PolicyModel,
    live: Path | None,
    candidate: Path,
    judge: Judge | None,
    prompts: Sequence[Sequence[int]],
    engine: RolloutEngine,
    config: GateConfig,
    *,
    disjoint: tuple[str, ...] = ("user", "conversation", "prompt"),
    progress: Progress = silent,
) -> Verdict:
    """Compare `candidate` with `live` (None: the bare base) on prompts given as token ids.

    Both sample with the same random numbers: where the two agree they say the same, and what is left differs because
    the policies do (common random numbers, as simulations use them).
    """
    started = time.monotonic()
    lacking = _lacking_evidence(judge, prompts, config)
    if judge is None or not prompts:
        return _undecided(lacking, judge, disjoint, len(prompts), time.monotonic() - started)
    answers: list[list[list[Rollout]]] = []
    for step, adapter in enumerate((live, candidate)):
        progress("gate", step / 3, "candidate answers" if step else "live policy answers")
        answers.append(
            engine.sample(
                adapter,
                prompts,
                n=config.answers_per_prompt,
                max_tokens=config.max_tokens,
                temperature=config.temperature,
                seed=config.seed,
            )
        )
    progress("gate", 2 / 3, "judging")
    win_rate = judged_win_rate(judge, prompts, answers[0], answers[1], resamples=config.resamples, seed=config.seed)
    flat = [[r for row in side for r in row] for side in answers]
    kl, kl_base = distances(
        model, live, candidate, prompts, answers[1], config.temperature, batch_tokens=config.batch_tokens
    )
    figures = Verdict(
        accepted=False,
        reasons=[],
        win_rate=win_rate,
        judge_quality=judge.quality,
        judge_labels=judge.labels,
        disjoint=disjoint,
        kl=kl,
        kl_base=kl_base,
        length_ratio=length_ratio(*flat),
        repetition=(repeating(flat[0]), repeating(flat[1])),
        missing_end=(missing_end(flat[0]), missing_end(flat[1])),
        distinct=(distinct(flat[0]), distinct(flat[1])),
        prompts=len(prompts),
        seconds=time.monotonic() - started,
    )
    objections = lacking + _objections(figures, config)
    favour = [f"win rate {win_rate.mean:.2f}, at least {win_rate.low:.2f}"]
    progress("gate", 1.0, "accepted" if not objections else objections[0])
    return replace(figures, accepted=not objections, reasons=objections or favour)


def _lacking_evidence(judge: Judge | None, prompts: Sequence[Sequence[int]], config: GateConfig) -> list[str]:
    reasons: list[str] = []
    labels, checks = (judge.labels, judge.quality.n) if judge else (0, 0)
    if min(labels, checks) < config.min_judge_labels:
        wanted = config.min_judge_labels
        reasons.append(f"too little evidence: the judge has {labels} labels and {checks} to check it, needs {wanted}")
    if len(prompts) < config.min_prompts:
        reasons.append(f"too little evidence: {len(prompts)} held-out prompts, needs {config.min_prompts}")
    return reasons


def _objections(v: Verdict, config: GateConfig) -> list[str]:
    reasons: list[str] = []
    if not v.judge_quality.low > 0.5:
        reasons.append(f"the judge may be no better than chance (quality at least {v.judge_quality.low:.2f})")
    if not v.win_rate.low > config.min_win_rate:
        wanted = "not shown to be better" if config.min_win_rate >= 0.5 else f"may be below {config.min_win_rate:.2f}"
        reasons.append(f"{wanted}: win rate {v.win_rate.mean:.2f}, at least {v.win_rate.low:.2f}")
    if v.kl > config.max_kl:
        reasons.append(f"too far from the live policy: KL {v.kl:.1f} > {config.max_kl:.1f}")
    if v.kl_base > config.max_kl_base:
        reasons.append(f"the lineage is too far from the base: KL {v.kl_base:.1f} > {config.max_kl_base:.1f}")
    low, high = config.length_ratio
    if not low <= v.length_ratio <= high:
        reasons.append(f"answers changed in length: {v.length_ratio:.2f} times the live policy's")
    if v.repetition[1] > v.repetition[0] + config.more_repetition:
        reasons.append(f"repeats itself more: {v.repetition[1]:.0%} of answers, before {v.repetition[0]:.0%}")
    if v.missing_end[1] > v.missing_end[0] + config.more_missing_end:
        reasons.append(f"does not finish: {v.missing_end[1]:.0%} of answers, before {v.missing_end[0]:.0%}")
    return reasons


def _undecided(
    reasons: list[str], judge: Judge | None, disjoint: tuple[str, ...], prompts: int, seconds: float
) -> Verdict:
    nan = float("nan")
    unknown, pair = Estimate(nan, nan, nan, 0), (nan, nan)
    quality, labels = (judge.quality, judge.labels) if judge else (unknown, 0)
    return Verdict(
        False, reasons, unknown, quality, labels, disjoint, nan, nan, nan, pair, pair, pair, prompts, seconds
    )
