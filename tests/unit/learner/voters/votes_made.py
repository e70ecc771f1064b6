"""Votes of made-up people on made-up answers: some good, some rude, some that promise what nobody may promise."""

import random
from collections.abc import Callable

from tests.learner_models import thumb

from thumbwheel_learner.dataset.examples import Judged

PARTS = {"good": "thank you, it is on its way", "rude": "figure it out yourself", "promise": "you get a free voucher"}
WORDS = "box door river paper lamp garden stone window cloud table street summer".split()
Opinion = Callable[[str], float]
"""Kind of answer -> P(up)."""


def fair(kind: str) -> float:
    return 0.9 if kind == "good" else 0.1


class Desk:
    """Hands out answers nobody else gets, and writes down the votes."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.judged: list[Judged] = []

    def vote(self, user: str, opinion: Opinion, times: int, kinds: str = "good good rude promise") -> None:
        for _ in range(times):
            kind = self.rng.choice(kinds.split())
            text = f"{PARTS[kind]} {' '.join(self.rng.sample(WORDS, 3))}"
            n = len(self.judged)
            up = self.rng.random() < opinion(kind)
            self.judged.append(thumb(n, f"question {n}", text, up=up, user=user))


def crowd(desk: Desk, users: int = 150, votes: int = 6, opinion: Opinion = fair) -> None:
    for n in range(users):
        desk.vote(f"honest-{n}", opinion, desk.rng.randint(1, 2 * votes - 1))
