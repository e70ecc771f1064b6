"""The gate's judge: a reward model on evidence of its own, and how far it can be trusted."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch and numpy are partial; what leaves this file is typed)

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from thumbwheel_learner.gate.checks import Checks, check, preferred, quality
from thumbwheel_learner.gate.regressions import Part, part
from thumbwheel_learner.measures import Array, Estimate, numbered
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.progress import Progress, silent
from thumbwheel_learner.reward.config import RewardConfig
from thumbwheel_learner.reward.labels import Evidence, items_of
from thumbwheel_learner.reward.model import DESCRIPTION, RewardScores, load_reward
from thumbwheel_learner.reward.training import TooFewLabels, train_reward
from thumbwheel_learner.rollouts.engine import Rollout

PREFIX = "judge"
"""Of its adapters' names on the model."""


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
    """Train on the judge's half, check on the other; None when there is nothing to train on. `weights` by user.

    A judge that an earlier stage of the run has left in `folder` is read.
    """
    try:
        if model.world.from_first((folder / DESCRIPTION).is_file):
            judge = load_reward(model, folder, prefix=PREFIX)
        else:
            judge, _ = train_reward(
                model, evidence.judge, config, folder, weights=weights, progress=progress, prefix=PREFIX
            )
    except TooFewLabels:
        return None
    checks = check(judge, items_of(evidence.training, model.tokens, config.max_length))
    return Judge(judge, checks, quality(checks, resamples, seed), int(judge.report["n_train"]))


class Comparison(NamedTuple):
    """What a judge makes of two policies' answers to the same prompts."""

    win_rate: Estimate
    """P(people prefer the candidate's answer), as `checks.preferred` reads the judge."""
    parts: list[Part]
    """The same for some of the prompts each."""
    scores: tuple[Array, Array]
    """[P, n] of the live policy's and the candidate's answers, means over the judge's members."""


def compare(
    judge: Judge,
    prompts: Sequence[Sequence[int]],
    live: Sequence[Sequence[Rollout]],
    candidate: Sequence[Sequence[Rollout]],
    *,
    groups: Sequence[str] = (),
    resamples: int,
    seed: int,
) -> Comparison:
    """Win rate of the candidate with a 95% interval, on the whole and for each of the `groups` the prompts are in.

    A resample draws prompts, members of the judge, and the people whose votes calibrate it. Thus a poor judge widens
    the interval around one half instead of passing for a precise one.
    """
    both = [[(p, r.text) for p, row in zip(prompts, side, strict=True) for r in row] for side in (live, candidate)]
    members = [judge.model.score([p for p, _ in s], [t for _, t in s]).members.double().numpy() for s in both]
    old, new = (m.reshape(len(prompts), len(live[0]), -1) for m in members)
    cluster = numbered(map(tuple, prompts))
    sizes = np.bincount(cluster)
    names = sorted(set(groups))
    chosen = [np.array([g == name for g in groups]) for name in names]
    people = int(judge.checks.person.max(initial=-1)) + 1

    def means(rates: Array, weights: Array) -> list[float]:
        some = [rates, *(rates[c] for c in chosen)], [weights, *(weights[c] for c in chosen)]
        return [float(np.average(r, weights=w)) if w.sum() else float("nan") for r, w in zip(*some, strict=True)]

    everybody = np.ones(len(judge.checks.pair))
    found = means(preferred(judge.checks, everybody, new, old).mean(axis=1), (1 / sizes)[cluster])
    rng = np.random.default_rng(seed)
    draws: list[list[float]] = []
    for _ in range(resamples):
        times = np.bincount(rng.integers(people, size=people), minlength=people) if people else np.zeros(0)
        columns = rng.integers(new.shape[-1], size=new.shape[-1])
        rates = preferred(judge.checks, times[judge.checks.person].astype(float), new[..., columns], old[..., columns])
        drawn = np.bincount(rng.integers(len(sizes), size=len(sizes)), minlength=len(sizes))
        draws.append(means(rates.mean(axis=1), (drawn / sizes)[cluster]))
    told = np.array(draws)
    low, high = (float(np.quantile(told[:, 0], q)) for q in (0.025, 0.975))
    parts = [
        part(name, found[n], told[:, n], len(np.unique(cluster[chosen[n - 1]])))
        for n, name in enumerate(names, start=1)
    ]
    return Comparison(Estimate(found[0], low, high, len(sizes)), parts, (old.mean(axis=-1), new.mean(axis=-1)))
