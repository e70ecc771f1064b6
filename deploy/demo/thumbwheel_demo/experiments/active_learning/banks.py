"""Where a seed draws its conversations from: the simulated desk, or real people's preferences."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# (numpy's stubs leave the element type of reductions open)

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from thumbwheel_demo.experiments.active_learning.judged_answers import LIKELIHOODS, JudgedAnswers
from thumbwheel_demo.experiments.active_learning.label_curves import ARMS, Arm, Plan
from thumbwheel_demo.experiments.real_rewards.features import features_of
from thumbwheel_demo.experiments.real_rewards.preferences import Question
from thumbwheel_learner.measures import numbered


class Drawn(NamedTuple):
    """One seed's answers."""

    pool: JudgedAnswers
    """To be asked about."""
    held_out: JudgedAnswers
    """To measure on."""
    plain: int
    """The first so many features stay as they are, the others are reduced."""


class Bank(Protocol):
    """What all seeds draw from."""

    @property
    def arms(self) -> Sequence[Arm]:
        """What can be asked here."""
        ...

    def draw(self, plan: Plan, rng: np.random.Generator) -> Drawn:
        """Conversations of a seed's own, whole."""
        ...


@dataclass(frozen=True)
class DeskBank:
    """Answers of the demo policy; held out are conversations in words that nobody used before."""

    live: JudgedAnswers
    held_out: JudgedAnswers
    arms: Sequence[Arm] = ARMS

    def draw(self, plan: Plan, rng: np.random.Generator) -> Drawn:
        """See `Bank`."""
        pool, held_out = self.live.some(plan.conversations, rng), self.held_out.some(plan.held_out, rng)
        if plan.likelihood:
            return Drawn(pool, held_out, LIKELIHOODS)
        return Drawn(_states(pool), _states(held_out), 0)


@dataclass(frozen=True)
class RealBank:
    """Preferences of real people; what was asked alike is on one side."""

    answers: JudgedAnswers
    clusters: NDArray[np.int64]
    """[C] of every conversation."""
    plain: int
    arms: Sequence[Arm]

    def draw(self, plan: Plan, rng: np.random.Generator) -> Drawn:
        """See `Bank`; of every four clusters one is held out."""
        kinds = rng.permutation(np.unique(self.clusters))
        apart = np.isin(self.clusters, kinds[: len(kinds) // 4])
        pool, held_out = (self.answers.of(np.flatnonzero(here)) for here in (~apart, apart))
        return Drawn(pool.few(plan.answers, rng), held_out, self.plain)


def real_bank(questions: Sequence[Question], model: Path, kept: Path | None) -> RealBank:
    """A question's preferred answers count as satisfying; where it has but two, these can only be compared.

    `model`: checkpoint folder of a pretrained model that reads the answers; `kept`: see `features_of`.
    """
    found = features_of(questions, model, kept)
    plain = np.hstack([found.surface, found.nearness])
    sizes = [len(q.answers) for q in questions]
    satisfied = np.concatenate([np.isin(np.arange(len(q.answers)), [b for b, _ in q.pairs]) for q in questions])
    answers = JudgedAnswers(
        conversations=np.repeat(np.arange(len(questions)), sizes),
        features=np.hstack([plain, found.embedded, *found.states]),
        scores=satisfied.astype(np.float64),
        satisfied=satisfied,
    )
    compared = all(size == 2 for size in sizes)
    arms = [arm for arm in ARMS if arm.asks == "pairs" or not compared]
    return RealBank(answers, numbered([q.cluster for q in questions]), plain.shape[1], arms)


def _states(answers: JudgedAnswers) -> JudgedAnswers:
    return replace(answers, features=answers.features[:, LIKELIHOODS:])
