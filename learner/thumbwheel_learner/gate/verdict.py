"""The written answer of the gate, and what it objects to, in words that an operator can act on."""

# pyright: reportUnknownVariableType=false
# (plain JSON has no types; what leaves this file has)

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

from thumbwheel_learner.gate.config import GateConfig
from thumbwheel_learner.gate.golden import Golden
from thumbwheel_learner.gate.judge import Judge
from thumbwheel_learner.gate.regressions import Part
from thumbwheel_learner.gate.safety import Safety
from thumbwheel_learner.gate.variety import Variety
from thumbwheel_learner.measures import Estimate

NAN = float("nan")
UNKNOWN = Estimate(NAN, NAN, NAN, 0)
UNASKED = Golden(NAN, NAN, UNKNOWN)
UNSEEN = Variety(NAN, NAN, UNKNOWN)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was measured and decided; every figure is explained in docs/algorithms/gate.md."""

    accepted: bool
    reasons: list[str]
    """Why not; or, when accepted, what spoke for it."""
    win_rate: Estimate = UNKNOWN
    """P(the judge prefers the candidate's answer to the live policy's), over prompts; the interval counts the judge."""
    judge_quality: Estimate = UNKNOWN
    judge_labels: int = 0
    checked_on: str = "all"
    """Whose words the judge's error is estimated on: `random slice` or `all`."""
    disjoint: tuple[str, ...] = ()
    """What the judge's labels do not share with those of the reward model."""
    kl: float = NAN
    kl_base: float = NAN
    length_ratio: float = NAN
    repetition: tuple[float, float] = (NAN, NAN)
    """Share of answers with a repeated four-gram: live, candidate."""
    missing_end: tuple[float, float] = (NAN, NAN)
    distinct: tuple[float, float] = (NAN, NAN)
    """Share of answers that differ from all others: live, candidate."""
    variety: Variety = UNSEEN
    intents: Sequence[Part] = ()
    golden: Golden = UNASKED
    safety: Safety | None = None
    prompts: int = 0
    turn: int = 0
    """Which draw of the gate's prompts it was."""
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """For manifests: plain JSON, None for what does not exist."""
        plain = asdict(self)
        for name in ("win_rate", "judge_quality"):
            plain[name] = getattr(self, name)._asdict()
        plain["intents"] = [part._asdict() for part in self.intents]
        for name in ("golden", "variety"):
            plain[name] = getattr(self, name)._asdict() | {"change": getattr(self, name).change._asdict()}
        plain["safety"] = self.safety._asdict() if self.safety else None
        return _without_nan(plain)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def lacking_evidence(judge: Judge | None, prompts: int, config: GateConfig) -> list[str]:
    """Why nothing can be decided; empty when something can."""
    reasons: list[str] = []
    labels, checks = (judge.labels, judge.quality.n) if judge else (0, 0)
    if min(labels, checks) < config.min_judge_labels:
        wanted = config.min_judge_labels
        reasons.append(f"too little evidence: the judge has {labels} labels and {checks} to check it, needs {wanted}")
    if prompts < config.min_prompts:
        reasons.append(f"too little evidence: {prompts} held-out prompts, needs {config.min_prompts}")
    return reasons


def objections(v: Verdict, config: GateConfig) -> list[str]:
    """Everything that speaks against a candidate."""
    return [*_not_better(v, config), *_drifted(v, config), *_regressed(v, config)]


def _not_better(v: Verdict, config: GateConfig) -> list[str]:
    reasons: list[str] = []
    if not v.judge_quality.low > 0.5:
        reasons.append(f"the judge may be no better than chance (quality at least {v.judge_quality.low:.2f})")
    if not v.win_rate.low > config.min_win_rate:
        wanted = "not shown to be better" if config.min_win_rate >= 0.5 else f"may be below {config.min_win_rate:.2f}"
        reasons.append(f"{wanted}: win rate {v.win_rate.mean:.2f}, at least {v.win_rate.low:.2f}")
    return reasons


def _drifted(v: Verdict, config: GateConfig) -> list[str]:
    reasons: list[str] = []
    if not v.kl <= config.max_kl:
        reasons.append(f"too far from the live policy: KL {v.kl:.1f} > {config.max_kl:.1f}")
    if not v.kl_base <= config.max_kl_base:
        reasons.append(f"the lineage is too far from the base: KL {v.kl_base:.1f} > {config.max_kl_base:.1f}")
    low, high = config.length_ratio
    if not low <= v.length_ratio <= high:
        reasons.append(f"answers changed in length: {v.length_ratio:.2f} times the live policy's")
    if v.repetition[1] > v.repetition[0] + config.more_repetition:
        reasons.append(f"repeats itself more: {v.repetition[1]:.0%} of answers, before {v.repetition[0]:.0%}")
    if v.missing_end[1] > v.missing_end[0] + config.more_missing_end:
        reasons.append(f"does not finish: {v.missing_end[1]:.0%} of answers, before {v.missing_end[0]:.0%}")
    change = v.variety.change
    if change.n >= config.min_varied and change.high < -config.variety_fall:
        shares = f"{v.variety.candidate:.0%} of their token pairs differ, before {v.variety.live:.0%}"
        reasons.append(f"says good things in fewer ways: {shares}, on {change.n} prompts that both answer well")
    return reasons


def _regressed(v: Verdict, config: GateConfig) -> list[str]:
    reasons = [
        f"worse at one thing ({part.name}): win rate {part.win_rate:.2f} on {part.prompts} prompts"
        for part in v.intents
        if part.fell
    ]
    change = v.golden.change
    if change.n >= config.min_golden and not change.high >= -config.golden_fall:
        by = f"by {-change.mean:.2f} nats per token, at least {-change.high:.2f}"
        reasons.append(f"unlearns what people corrected: {change.n} held-out corrections became less likely {by}")
    if v.safety is not None and v.safety.p < config.significance and v.safety.rose > 0:
        old, new = v.safety.complied
        reasons.append(
            f"does as it is asked on safety prompts more often: {new:.0%} of answers, before {old:.0%} "
            f"({v.safety.worse} prompts worse, {v.safety.better} better)"
        )
    if v.safety is not None and v.safety.judged_p < config.significance:
        reasons.append(f"worse on safety prompts: the judge prefers it in {v.safety.judged:.2f} of them")
    return reasons
