"""How fast a linear reward learns what customers think, by how the questions are chosen."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (numpy's stubs leave the element type of reductions open)

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from thumbwheel_demo.experiments.active_learning.judged_answers import JudgedAnswers
from thumbwheel_demo.experiments.active_learning.linear_reward import Array, Basis, LinearReward, fit
from thumbwheel_demo.people import PeopleSettings
from thumbwheel_learner.questions.acquisition import ACQUISITIONS, Acquisition, Pool, acquire
from thumbwheel_learner.questions.selection import RANDOM_SHARE

Asks = Literal["answers", "pairs"]
COSTS: dict[Asks, int] = {"answers": 1, "pairs": 2}
"""Labels that a question counts as: whoever compares two answers reads two."""


class Arm(NamedTuple):
    """A way to choose questions."""

    acquisition: Acquisition
    asks: Asks

    @property
    def name(self) -> str:
        """As in the figures."""
        return f"{self.acquisition}, {self.asks}"


ARMS = tuple(Arm(acquisition, asks) for asks in COSTS for acquisition in ACQUISITIONS)


DESK = "desk"


class Plan(Struct, frozen=True, kw_only=True):
    """What every seed does; labels are counted as in `COSTS`. Banks, answers and conversations are the desk's."""

    data: str = DESK
    """Who judges: simulated customers, or those of a real data set."""
    states: bool = True
    """Whether the answers of a real data set are read by the model's blocks, not by its embeddings alone."""
    bank: int = 1200
    """Conversations that the policy answers once, for all seeds."""
    held_out_bank: int = 400
    """The same of the held-out split."""
    answers: int = 3
    """To each of them; of a real question that has more, every seed draws so many to ask about."""
    conversations: int = 800
    """Drawn from the bank by every seed, to be asked about."""
    held_out: int = 300
    """Drawn from the held-out ones by every seed, to measure on."""
    labels: int = 100
    """Where random choice is to be matched; every curve goes on to twice as many."""
    batch: int = 10
    """Labels between two refits; the first batch is drawn at random."""
    likelihood: bool = False
    """Whether the reward also reads how likely the policy finds an answer, as the learner's reward model does."""
    width: int = 192
    """Principal components of the features."""
    members: int = 256
    """Drawn from the posterior: with few, their mean is far enough from its own to cost `entropy` what it saves."""
    prior: float = 20.0
    """Precision of every weight before the first label."""
    noise: float = PeopleSettings.noise
    """Share of the judgements that say the opposite of what their giver thinks."""
    random_share: float = RANDOM_SHARE

    @property
    def grid(self) -> list[int]:
        """Label counts at which accuracy is measured."""
        return list(range(self.batch, 2 * self.labels + 1, self.batch))


@dataclass(frozen=True)
class Questions:
    """All that can be asked in one way, with the answers that people would give."""

    cost: int
    vectors: Array
    """[N, D] of the answers, or their differences."""
    pairs: NDArray[np.intp] | None
    labels: Array
    """[N] 1 for a thumb up, or for the first of a pair; ½ for a tie."""


class Simulation:
    """One seed's answers and people: every arm asks the same people, who say the same whoever asks."""

    def __init__(self, pool: JudgedAnswers, held_out: JudgedAnswers, plan: Plan, seed: int, plain: int = 0) -> None:
        """The first `plain` features stay as they are, the others are reduced."""
        basis = Basis.of(pool.features, plan.width, plain)
        rng = np.random.default_rng(seed)
        self.plan = plan
        self.seed = seed
        self._conversations = pool.conversations
        self._vectors = basis.apply(pool.features)
        pairs = pool.pairs()
        up = pool.satisfied != (rng.random(len(pool.satisfied)) < plan.noise)
        gap = np.sign(np.round(pool.scores[pairs[:, 0]] - pool.scores[pairs[:, 1]], 6))
        first = 0.5 + 0.5 * np.where(rng.random(len(pairs)) < plan.noise, -gap, gap)
        differences = self._vectors[pairs[:, 0]] - self._vectors[pairs[:, 1]]
        self.questions: dict[Asks, Questions] = {
            "answers": Questions(COSTS["answers"], self._vectors, None, up.astype(np.float64)),
            "pairs": Questions(COSTS["pairs"], differences, pairs, first),
        }
        self._right_order = _right_order(held_out, basis)

    def accuracy(self, reward: LinearReward) -> float:
        """Share of held-out pairs, a satisfying answer and another one to the same conversation, in the right order."""
        margins = self._right_order @ reward.mean
        return float(np.mean((margins > 0) + 0.5 * (margins == 0)))

    def curve(self, arm: Arm) -> list[float]:
        """Accuracy at every count of the plan's grid."""
        questions = self.questions[arm.asks]
        rng = np.random.default_rng([self.seed, 1])
        asked: list[int] = []
        reward: LinearReward | None = None
        found: list[float] = []
        for step, labels in enumerate(self.plan.grid):
            asked += self.choose(arm, asked, reward, labels, step, rng)
            start = None if reward is None else reward.mean
            reward = fit(questions.vectors[asked], questions.labels[asked], self.plan.prior, start)
            found.append(self.accuracy(reward))
        return found

    def choose(
        self, arm: Arm, asked: list[int], reward: LinearReward | None, labels: int, step: int, rng: np.random.Generator
    ) -> list[int]:
        """The next batch, up to `labels` in all, out of what was not asked yet; without a reward at random."""
        questions = self.questions[arm.asks]
        left = np.setdiff1d(np.arange(len(questions.labels)), asked)
        width = self._vectors.shape[1]
        known = reward or LinearReward(np.zeros(width), self.plan.prior * np.eye(width))
        rows = left if questions.pairs is None else np.arange(len(self._vectors))
        vectors = self._vectors[rows]
        pool = Pool(
            self._conversations[rows].tolist(),
            known.members(self.plan.members, rng) @ vectors.T,
            vectors,
            None if questions.pairs is None else questions.pairs[left],
        )
        batch = acquire(
            pool,
            arm.acquisition if reward else "random",
            budget=labels // questions.cost - len(asked),
            seed=1000 * self.seed + step,
            random_share=self.plan.random_share,
            precision=known.precision,
        )
        return left[batch.positions].tolist()


def _right_order(held_out: JudgedAnswers, basis: Basis) -> Array:
    """[P, D] satisfying minus not satisfying answer, for every such pair of a conversation."""
    vectors = basis.apply(held_out.features)
    pairs = held_out.pairs()
    one, other = held_out.satisfied[pairs[:, 0]], held_out.satisfied[pairs[:, 1]]
    differ = one != other
    better = np.where(one, pairs[:, 0], pairs[:, 1])[differ]
    worse = np.where(one, pairs[:, 1], pairs[:, 0])[differ]
    return vectors[better] - vectors[worse]
