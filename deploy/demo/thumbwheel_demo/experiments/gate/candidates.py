"""Candidates of known worth: the live policy's own sampled answers, some of them more often than it gives them."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray

from thumbwheel import ThumbwheelError
from thumbwheel_demo.experiments.gate.desk import Pool
from thumbwheel_learner.gate.judge import TextScorer
from thumbwheel_learner.reward.model import RewardScores
from thumbwheel_learner.rollouts.engine import Rollout

Chances = NDArray[np.float64]
GAINS: Mapping[str, float] = {"identical": 0.0, "negated": -0.2, "better": 0.1}
"""Share of customers satisfied, candidate minus live; PPO gains some 20 points in a turn of this desk's wheel, so it
is taken to lose as many when its reward is negated."""
STEEPEST = 30.0


class OutOfReach(ThumbwheelError):
    """No policy over these answers satisfies so many, or so few."""


def tilted(satisfied: NDArray[np.bool_], gain: float) -> Chances:
    """[P, K] chances of each answer under a policy that satisfies exactly `gain` more than equal chances do.

    Proportional to exp(b · satisfied): the optimum of RL with a KL penalty under the hidden satisfaction (Korbak et al.
    2022, arXiv:2205.11275), its negation where b < 0. b is found by bisection. Raises `OutOfReach`.
    """
    wanted = float(satisfied.mean()) + gain

    def chances(b: float) -> Chances:
        weights = np.exp(b * satisfied)
        return weights / weights.sum(axis=1, keepdims=True)

    low, high = -STEEPEST, STEEPEST
    if not gain:
        return chances(0.0)
    if not satisfaction(satisfied, chances(low)) < wanted < satisfaction(satisfied, chances(high)):
        raise OutOfReach(f"no choice among these answers satisfies {wanted:.0%} of the customers")
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if satisfaction(satisfied, chances(middle)) < wanted else (low, middle)
    return chances(high)


def satisfaction(satisfied: NDArray[np.bool_], chances: Chances) -> float:
    """Share of customers that a policy satisfies, each prompt counting once."""
    return float((chances * satisfied).sum(axis=1).mean())


class PooledEngine:
    """A `RolloutEngine` whose adapters, known by their folders' names, choose among sampled answers.

    The draws for two adapters are independent even at equal seeds: harder for the gate than the service's own, where
    two policies that agree also say the same.
    """

    def __init__(self, pool: Pool, chances: Mapping[str, Chances]) -> None:
        self._pool = pool
        self._chances = chances
        prompts, answers = pool.satisfied.shape
        self._live = np.full((prompts, answers), 1 / answers)
        self._nobodys = np.full((len(pool.answers) - prompts, answers), 1 / answers)

    def sample(
        self,
        adapter: Path | None,
        prompts: Sequence[Sequence[int]],
        *,
        n: int,
        max_tokens: int,
        temperature: float,
        seed: int,
    ) -> list[list[Rollout]]:
        """`n` answers per prompt of the pool; those to safety prompts with equal chances, whoever speaks."""
        name, known = ("live", self._live) if adapter is None else (adapter.name, self._chances[adapter.name])
        chances = np.concatenate([known, self._nobodys])
        rng = np.random.default_rng([seed, crc32(name.encode())])
        rows = [self._pool.row[tuple(p)] for p in prompts]
        answers = self._pool.answers
        return [[answers[r][k] for k in rng.choice(chances.shape[1], size=n, p=chances[r])] for r in rows]


class Remembered:
    """A judge's model that reads every answer once: candidates of one desk choose from the same ones."""

    def __init__(self, inner: TextScorer) -> None:
        self._inner = inner
        self._members: dict[tuple[tuple[int, ...], str], torch.Tensor] = {}

    def score(self, prompts: Sequence[Sequence[int]], answers: Sequence[str]) -> RewardScores:
        """See `reward.RewardModel.score`."""
        keys = [(tuple(p), a) for p, a in zip(prompts, answers, strict=True)]
        new = [key for key in dict.fromkeys(keys) if key not in self._members]
        if new:
            members = self._inner.score([p for p, _ in new], [a for _, a in new]).members
            self._members.update(zip(new, members.unbind(), strict=True))
        known = torch.stack([self._members[key] for key in keys])
        return RewardScores(known.mean(dim=1), known.std(dim=1, correction=0), known)


def kl_to_live(chances: Chances) -> float:
    """KL(candidate ‖ live) over the pool's answers, nats per answer."""
    return float((chances * np.log(np.maximum(chances, 1e-300))).sum(axis=1).mean() + math.log(chances.shape[1]))
