"""A desk whose people vote the more the less they like the answer, each topic in its own way."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from thumbwheel_demo.experiments.frozen import Features, Pool
from thumbwheel_demo.people import PeopleSettings
from thumbwheel_demo.satisfaction import judge

CERTAIN = 0.95
"""Nobody votes more often."""
UNSEEN = 1200
"""Of the pool's chats, kept out of every seed: what rewards are measured on."""


@dataclass(frozen=True)
class Habits:
    """Who votes, and how many chats a reviewer draws; ranges hold a chance for every topic, evenly on a log scale."""

    chats: int = 2500
    reviews: int = 300
    content: tuple[float, float] = (0.1, 0.4)
    """P(vote) of who is satisfied."""
    annoyed: tuple[float, float] = (1.25, 4.0)
    """Times as often does who is not."""
    noise: float = PeopleSettings.noise
    """Share of votes by mistake; reviewers make none."""


class Truth(NamedTuple):
    """What the judgement of every answer in the pool is, and which topic it belongs to."""

    satisfied: dict[str, Features]
    """By part of the pool, [answers] 1 or 0."""
    topic: dict[str, NDArray[np.intp]]
    topics: list[str]
    unseen: NDArray[np.intp]
    """Of the chats, those that no seed has."""


class Day(NamedTuple):
    """The chats of one seed."""

    had: NDArray[np.intp]
    """[N] in the pool's chats."""
    topic: NDArray[np.intp]
    satisfied: Features
    """[N] 1 or 0, hidden but from reviewers."""
    chance: Features
    """[N] P(vote)."""
    voted: NDArray[np.bool_]
    up: Features
    """[N] 1 or 0, what a vote would say."""
    reviewed: NDArray[np.bool_]


def truth_of(pool: Pool) -> Truth:
    """Judge everything once."""
    satisfied = {
        part: np.array(
            [float(judge(s, t).satisfied) for s, t in zip(pool.scenarios[part], pool.texts[part], strict=True)]
        )
        for part in ("chats", "candidates")
    }
    topics = sorted({s.intent for s in (*pool.scenarios["chats"], *pool.scenarios["candidates"])})
    at = {name: n for n, name in enumerate(topics)}
    numbers = {
        part: np.array([at[s.intent] for s in pool.scenarios[part]], dtype=np.intp) for part in ("chats", "candidates")
    }
    unseen = np.random.default_rng(0).permutation(len(satisfied["chats"]))[:UNSEEN]
    return Truth(satisfied, numbers, topics, unseen)


def a_day(truth: Truth, habits: Habits, seed: int) -> Day:
    """Which chats happen, who votes and what gets reviewed; raises `ValueError` when the pool holds too few chats."""
    pool = np.setdiff1d(np.arange(len(truth.satisfied["chats"])), truth.unseen)
    if not habits.reviews <= habits.chats <= len(pool):
        raise ValueError(f"{habits.reviews} reviews of {habits.chats} chats out of a pool of {len(pool)}")
    rng = np.random.default_rng(seed)
    content, annoyed = (
        np.exp(rng.uniform(*np.log(between), size=len(truth.topics))) for between in (habits.content, habits.annoyed)
    )
    had = rng.permutation(pool)[: habits.chats]
    topic, satisfied = truth.topic["chats"][had], truth.satisfied["chats"][had]
    chance = np.minimum(CERTAIN, content[topic] * np.where(satisfied > 0, 1.0, annoyed[topic]))
    voted = rng.random(habits.chats) < chance
    mistaken = rng.random(habits.chats) < habits.noise
    reviewed = np.zeros(habits.chats, dtype=np.bool_)
    reviewed[rng.permutation(habits.chats)[: habits.reviews]] = True
    return Day(had, topic, satisfied, chance, voted, np.where(mistaken, 1 - satisfied, satisfied), reviewed)
