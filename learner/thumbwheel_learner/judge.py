"""The gate's judge: a reward model on evidence of its own, and how far it can be trusted."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch and numpy are partial; what leaves this file is typed)

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from thumbwheel_learner.labels import Evidence, Item, items_of
from thumbwheel_learner.measures import Array, Estimate, auc, bootstrap, sigmoid
from thumbwheel_learner.model import PolicyModel
from thumbwheel_learner.progress import Progress, silent
from thumbwheel_learner.reward import RewardConfig, RewardModel
from thumbwheel_learner.reward_training import TooFewLabels, train_reward
from thumbwheel_learner.rollout import Rollout


class Judge(NamedTuple):
    """A trained judge and what is known of its own error."""

    model: RewardModel
    quality: Estimate
    """P(it orders a good and a bad answer as people did), on labels it was not trained on."""
    draws: Array
    """Bootstrap draws of the quality."""
    labels: int
    """What it was trained on."""


def train_judge(
    model: PolicyModel,
    evidence: Evidence,
    config: RewardConfig,
    folder: Path,
    *,
    resamples: int,
    seed: int,
    progress: Progress = silent,
) -> Judge | None:
    """Train on the judge's half, check on the other; None when there is nothing to train on."""
    try:
        judge, report = train_reward(model, evidence.judge, config, folder, progress=progress, prefix="judge")
    except TooFewLabels:
        return None
    items = items_of(evidence.training, model.tokens, config.max_length)
    quality, draws = judge_quality(judge, items, resamples, seed)
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


def judged_win_rate(
    judge: Judge,
    prompts: Sequence[Sequence[int]],
    live: Sequence[Sequence[Rollout]],
    candidate: Sequence[Sequence[Rollout]],
    *,
    resamples: int,
    seed: int,
) -> Estimate:
    """P(candidate preferred), every candidate answer of a prompt against every live one; 95% interval.

    A resample draws prompts, members of the judge, and one draw of the judge's quality: where that says that the judge
    orders answers no better than chance, the resample's verdict is turned round. Thus a poor judge widens the interval
    across one half instead of passing for a precise one.
    """
    both = [[(p, r.text) for p, row in zip(prompts, side, strict=True) for r in row] for side in (live, candidate)]
    members = [judge.model.score([p for p, _ in s], [t for _, t in s]).members.double().numpy() for s in both]
    n = len(live[0])
    old, new = (m.reshape(len(prompts), n, -1) for m in members)
    margins = (new[:, :, None] - old[:, None, :]) / judge.model.temperature
    wins: Array = sigmoid(margins).mean(axis=(1, 2))
    groups = {key: i for i, key in enumerate(dict.fromkeys(map(tuple, prompts)))}
    cluster = np.array([groups[tuple(p)] for p in prompts])
    by_prompt = np.stack([wins[cluster == g].mean(axis=0) for g in range(len(groups))])
    rng = np.random.default_rng(seed)
    draws: list[float] = []
    for _ in range(resamples):
        rows = rng.integers(len(by_prompt), size=len(by_prompt))
        columns = rng.integers(by_prompt.shape[1], size=by_prompt.shape[1])
        rate = float(by_prompt[np.ix_(rows, columns)].mean())
        quality = float(rng.choice(judge.draws)) if len(judge.draws) else 0.5
        draws.append(rate if quality > 0.5 else 1 - rate)
    low, high = (float(np.quantile(draws, q)) for q in (0.025, 0.975))
    return Estimate(float(by_prompt.mean()), low, high, len(by_prompt))
