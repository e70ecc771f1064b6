"""The gate's judge: a reward model on evidence of its own, and how far it can be trusted."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch and numpy are partial; what leaves this file is typed)

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from thumbwheel_learner.gate.checks import Checks, check, preferred, quality
from thumbwheel_learner.measures import Estimate, numbered
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.progress import Progress, silent
from thumbwheel_learner.reward.labels import Evidence, items_of
from thumbwheel_learner.reward.model import RewardConfig, RewardScores
from thumbwheel_learner.reward.training import TooFewLabels, train_reward
from thumbwheel_learner.rollouts.engine import Rollout


class TextScorer(Protocol):
    """What is asked of a judge's model once it is checked: `reward.RewardModel`, or anything that scores texts."""

    def score(self, prompts: Sequence[Sequence[int]], answers: Sequence[str]) -> RewardScores:
        """Scores of answer texts after prompt ids."""
        ...


class Judge(NamedTuple):
    """A trained judge and what is known of its own error."""

    model: TextScorer
    checks: Checks
    """What others than its teachers said, and what it says of the same answers."""
    quality: Estimate
    """P(it orders a good and a bad answer as those people did)."""
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
    weights: Mapping[str, float] | None = None,
    progress: Progress = silent,
) -> Judge | None:
    """Train on the judge's half, check on the other; None when there is nothing to train on. `weights` by user."""
    try:
        judge, report = train_reward(
            model, evidence.judge, config, folder, weights=weights, progress=progress, prefix="judge"
        )
    except TooFewLabels:
        return None
    checks = check(judge, items_of(evidence.training, model.tokens, config.max_length))
    return Judge(judge, checks, quality(checks, resamples, seed), report.n_train)


def judged_win_rate(
    judge: Judge,
    prompts: Sequence[Sequence[int]],
    live: Sequence[Sequence[Rollout]],
    candidate: Sequence[Sequence[Rollout]],
    *,
    resamples: int,
    seed: int,
) -> Estimate:
    """P(people prefer the candidate's answer), as `checks.preferred` reads the judge; 95% interval.

    A resample draws prompts, members of the judge, and the people whose votes calibrate it. Thus a poor judge widens
    the interval around one half instead of passing for a precise one.
    """
    both = [[(p, r.text) for p, row in zip(prompts, side, strict=True) for r in row] for side in (live, candidate)]
    members = [judge.model.score([p for p, _ in s], [t for _, t in s]).members.double().numpy() for s in both]
    old, new = (m.reshape(len(prompts), len(live[0]), -1) for m in members)
    cluster = numbered(map(tuple, prompts))
    sizes = np.bincount(cluster)
    people = int(judge.checks.person.max(initial=-1)) + 1
    mean = np.average(
        preferred(judge.checks, np.ones(len(judge.checks.pair)), new, old).mean(axis=1), weights=1 / sizes[cluster]
    )
    rng = np.random.default_rng(seed)
    draws: list[float] = []
    for _ in range(resamples):
        times = np.bincount(rng.integers(people, size=people), minlength=people) if people else np.zeros(0)
        columns = rng.integers(new.shape[-1], size=new.shape[-1])
        rates = preferred(judge.checks, times[judge.checks.person].astype(float), new[..., columns], old[..., columns])
        drawn = np.bincount(rng.integers(len(sizes), size=len(sizes)), minlength=len(sizes))
        draws.append(float(np.average(rates.mean(axis=1), weights=(drawn / sizes)[cluster])))
    low, high = (float(np.quantile(draws, q)) for q in (0.025, 0.975))
    return Estimate(float(mean), low, high, len(sizes))
