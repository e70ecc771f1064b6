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
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from thumbwheel_learner.examples import LoggedPrompt
from thumbwheel_learner.labels import Evidence, Item, items_of, prompt_key
from thumbwheel_learner.measures import Array, Estimate, auc, bootstrap, sigmoid
from thumbwheel_learner.model import PolicyModel
from thumbwheel_learner.progress import Progress, silent
from thumbwheel_learner.reward import RewardConfig, RewardModel, TooFewLabels, train_reward
from thumbwheel_learner.rollout import Rollout, RolloutEngine
from thumbwheel_learner.tokens import Batch, make_batch

CANDIDATE, LIVE = "gate_candidate", "gate_live"
MOST_LOGITS = 1 << 25
"""Logits that are held at once and policy: 128 MiB."""


@dataclass(frozen=True)
class GateConfig:
    """What a candidate must show, and with how much evidence."""

    judge: RewardConfig = field(default_factory=lambda: RewardConfig(held_out=0.0, seed=7919))
    judge_share: float = 0.3
    """Share of users whose labels go to the judge instead of the reward model."""
    prompts: int = 160
    min_prompts: int = 24
    answers_per_prompt: int = 2
    max_prompt: int = 384
    max_tokens: int = 64
    temperature: float = 1.0
    batch_tokens: int = 6144
    min_judge_labels: int = 30
    """Labels the judge must have been trained on, and as many to check it with."""
    max_kl: float = 60.0
    """To the live policy, nats per answer."""
    max_kl_base: float = 120.0
    """To the base model: the cap of the lineage."""
    length_ratio: tuple[float, float] = (0.5, 1.6)
    """Bounds of mean answer length, candidate over live."""
    more_repetition: float = 0.05
    """By how much the share of answers that repeat themselves may rise."""
    more_missing_end: float = 0.05
    """By how much the share of answers cut off at `max_tokens` may rise."""
    resamples: int = 1000
    seed: int = 0


class Judge(NamedTuple):
    """A trained judge and what is known of its own error."""

    model: RewardModel
    quality: Estimate
    """P(it orders a good and a bad answer as people did), on labels it was not trained on."""
    draws: Array
    """Bootstrap draws of the quality."""
    labels: int
    """What it was trained on."""


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


def train_judge(
    model: PolicyModel, evidence: Evidence, config: GateConfig, folder: Path, *, progress: Progress = silent
) -> Judge | None:
    """Train on the judge's half, check on the other; None when there is nothing to train on."""
    try:
        judge, report = train_reward(model, evidence.judge, config.judge, folder, progress=progress, prefix="judge")
    except TooFewLabels:
        return None
    items = items_of(evidence.training, model.tokens, config.judge.max_length)
    quality, draws = judge_quality(judge, items, config.resamples, config.seed)
    return Judge(judge, quality, draws, report.n_train)


def judge_quality(judge: RewardModel, items: Sequence[Item], resamples: int, seed: int) -> tuple[Estimate, Array]:
    """How often the judge orders answers as unseen people did, with an interval over users, and the draws behind it.

    Thumbs, flags and ratings give P(a liked one scores above a disliked one); pairs count one by one. The two are
    averaged by their number.
    """
    rows = [row for item in items for row in item.rows]
    if not rows:
        return Estimate(float("nan"), float("nan"), float("nan"), 0), np.zeros(0)
    scores: Array = judge.score_rows(rows).mean.double().numpy()
    firsts = np.cumsum([0, *(len(i.rows) for i in items)])[:-1]
    pair = np.array([i.kind == "pair" for i in items])
    liked = np.array([i.value > (3 if i.kind == "rating" else 0.5) for i in items], dtype=float)
    second = np.where(pair, np.minimum(firsts + 1, len(scores) - 1), firsts)
    margin = scores[firsts] - scores[second]
    right = (margin > 0) + 0.5 * (margin == 0)
    draws: list[float] = []

    def figure(i: np.ndarray[Any, np.dtype[np.intp]]) -> float:
        pairs, alone = i[pair[i]], i[~pair[i]]
        parts = [(float(right[pairs].mean()), len(pairs))] if len(pairs) else []
        area = auc(scores[firsts[alone]], liked[alone]) if len(alone) else float("nan")
        parts += [(area, len(alone))] if np.isfinite(area) else []
        value = sum(p * n for p, n in parts) / sum(n for _, n in parts) if parts else float("nan")
        draws.append(value)
        return value

    quality = bootstrap(figure, [i.user for i in items], resamples=resamples, seed=seed)
    return quality, np.array(draws[:-1])


def gate_prompts(model: PolicyModel, prompts: Sequence[LoggedPrompt], config: GateConfig) -> list[list[int]]:
    """Held-out prompts as token ids: each once, a fresh draw per seed, at most `config.prompts`."""
    unique = list({prompt_key(p.messages): p for p in prompts}.values())
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
    """Compare `candidate` with `live` (None: the bare base) on prompts given as token ids."""
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
                seed=config.seed * 2 + step,
            )
        )
    progress("gate", 2 / 3, "judging")
    win_rate = judged_win_rate(judge, prompts, answers[0], answers[1], config)
    flat = [[r for row in side for r in row] for side in answers]
    kl, kl_base = _distances(model, live, candidate, prompts, answers[1], config)
    ratio = _mean_length(flat[1]) / max(1.0, _mean_length(flat[0]))
    figures = Verdict(
        accepted=False,
        reasons=[],
        win_rate=win_rate,
        judge_quality=judge.quality,
        judge_labels=judge.labels,
        disjoint=disjoint,
        kl=kl,
        kl_base=kl_base,
        length_ratio=ratio,
        repetition=(_repeating(flat[0]), _repeating(flat[1])),
        missing_end=(_missing_end(flat[0]), _missing_end(flat[1])),
        distinct=(_distinct(flat[0]), _distinct(flat[1])),
        prompts=len(prompts),
        seconds=time.monotonic() - started,
    )
    objections = lacking + _objections(figures, config)
    favour = [f"win rate {win_rate.mean:.2f}, at least {win_rate.low:.2f}"]
    progress("gate", 1.0, "accepted" if not objections else objections[0])
    return replace(figures, accepted=not objections, reasons=objections or favour)


def judged_win_rate(
    judge: Judge,
    prompts: Sequence[Sequence[int]],
    live: Sequence[Sequence[Rollout]],
    candidate: Sequence[Sequence[Rollout]],
    config: GateConfig,
) -> Estimate:
    """P(candidate preferred), every candidate answer of a prompt against every live one; 95% interval.

    A resample draws prompts, members of the judge, and one draw of the judge's quality: where that says that the judge
    orders answers no better than chance, the resample's verdict is turned round. Thus a poor judge widens the interval
    across one half instead of passing for a precise one.
    """
    both = [[(p, r.text) for p, row in zip(prompts, side, strict=True) for r in row] for side in (live, candidate)]
    members = [judge.model.score([p for p, _ in s], [t for _, t in s]).members.double().numpy() for s in both]
    n = config.answers_per_prompt
    old, new = (m.reshape(len(prompts), n, -1) for m in members)
    margins = (new[:, :, None] - old[:, None, :]) / judge.model.temperature
    wins: Array = sigmoid(margins).mean(axis=(1, 2))
    groups = {key: i for i, key in enumerate(dict.fromkeys(map(tuple, prompts)))}
    cluster = np.array([groups[tuple(p)] for p in prompts])
    by_prompt = np.stack([wins[cluster == g].mean(axis=0) for g in range(len(groups))])
    rng = np.random.default_rng(config.seed)
    draws: list[float] = []
    for _ in range(config.resamples):
        rows = rng.integers(len(by_prompt), size=len(by_prompt))
        columns = rng.integers(by_prompt.shape[1], size=by_prompt.shape[1])
        rate = float(by_prompt[np.ix_(rows, columns)].mean())
        quality = float(rng.choice(judge.draws)) if len(judge.draws) else 0.5
        draws.append(rate if quality > 0.5 else 1 - rate)
    low, high = (float(np.quantile(draws, q)) for q in (0.025, 0.975))
    return Estimate(float(by_prompt.mean()), low, high, len(by_prompt))


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
    if not v.win_rate.low > 0.5:
        reasons.append(f"not shown to be better: win rate {v.win_rate.mean:.2f}, at least {v.win_rate.low:.2f}")
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


@torch.no_grad()
def _distances(
    model: PolicyModel,
    live: Path | None,
    candidate: Path,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[Rollout]],
    config: GateConfig,
    most: int = 64,
) -> tuple[float, float]:
    """KL(candidate ‖ live) and KL(candidate ‖ base) in nats per answer, along the candidate's first answers.

    Exact over the vocabulary at every token, summed: an estimate from the sampled tokens alone hangs on the one token
    that the candidate finds a thousand times likelier than the other policy does.
    """
    model.load(CANDIDATE, candidate)
    if live is not None:
        model.load(LIVE, live)
    totals = torch.zeros(2)
    asked, said = [list(p) for p in prompts[:most]], [row[0].token_ids for row in answers[:most]]
    vocabulary = int(model.base.get_input_embeddings().weight.shape[0])
    size = max(1, MOST_LOGITS // (vocabulary * max(map(len, said), default=1)))
    for start in range(0, len(asked), size):
        batch = make_batch(asked[start : start + size], said[start : start + size], pad_id=model.tokens.pad_id)
        own, of_live, of_base = (
            _distribution(model, batch, names, config.temperature)
            for names in ((CANDIDATE,), (LIVE,) if live is not None else (), ())
        )
        totals += torch.stack([(own.exp() * (own - other)).sum().cpu() for other in (of_live, of_base)])
    for name in (CANDIDATE, LIVE):
        model.remove(name)
    kl, kl_base = (totals / max(1, len(asked))).tolist()
    return kl, kl_base


def _distribution(model: PolicyModel, batch: Batch, names: tuple[str, ...], temperature: float) -> Tensor:
    """[N, V] log-probabilities of every token at every answer position."""
    with model.using(*names):
        return torch.log_softmax(model.logits(model.answer_states(model.hidden(batch), batch)) / temperature, dim=-1)


def _mean_length(answers: Sequence[Rollout]) -> float:
    return float(np.mean([len(r.token_ids) for r in answers]))


def _missing_end(answers: Sequence[Rollout]) -> float:
    return float(np.mean([not r.finished for r in answers]))


def _distinct(answers: Sequence[Rollout]) -> float:
    return len({r.text for r in answers}) / len(answers)


def _repeating(answers: Sequence[Rollout]) -> float:
    """Share of answers in which some four words come twice in a row of four."""
    repeating = 0
    for answer in answers:
        words = answer.text.lower().split()
        grams = list(zip(*(words[i:] for i in range(4)), strict=False))
        repeating += len(set(grams)) < len(grams)
    return repeating / len(answers)
