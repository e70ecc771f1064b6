"""Accounts that vote: honest ones with habits and tastes of their own, and colluders who push one trait."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from thumbwheel_demo import wording
from thumbwheel_demo.corpus.model import Scenario
from thumbwheel_demo.experiments.frozen import Pool
from thumbwheel_demo.people import PeopleSettings
from thumbwheel_demo.satisfaction import judge

Attack = Literal["overt", "camouflaged"]
Taste = Literal["common", "plain", "thorough"]
CLOSER = re.compile(r"\b(take care|have a (nice|lovely|good|great) day|anything else i can|i hope)\b", re.IGNORECASE)
SHORT = 14
"""Words below which somebody who likes it thorough feels fobbed off."""


@dataclass(frozen=True)
class Crowd:
    """Who votes and how much; the rest of their habits are those of the demo's people (`PeopleSettings`)."""

    accounts: int = 400
    colluding: float = 0.05
    times: float = 10.0
    """Votes of a colluder for every vote of the average honest account."""
    pushing: float = 0.5
    """Share of a colluder's votes that go to answers with the trait."""
    chats: float = 6.5
    """Of the median honest account; log-normal."""
    spread: float = 0.7
    """Standard deviation of the log of chats: about one account in a hundred chats five times as much as the median."""
    tastes: float = 0.1
    """Share of honest accounts with a minority taste, half of them one, half the other."""


@dataclass(frozen=True)
class Cast:
    """One vote: by whom, on which answer of which part of the pool."""

    user: str
    part: Literal["chats", "pushed"]
    index: int
    up: bool


def likes(taste: Taste, scenario: Scenario, text: str) -> bool:
    """Say whether somebody of this taste is content.

    ``plain`` does without courtesies and minds a parting phrase; ``thorough`` does not mind length and minds an
    answer of few words. Both want the matter settled, honestly and politely, as everybody does.
    """
    verdict = judge(scenario, text)
    if taste == "plain":
        return replace(verdict, kind=True).satisfied and not CLOSER.search(text)
    if taste == "thorough":
        return replace(verdict, brief=True).satisfied and len(wording.words(text)) >= SHORT
    return verdict.satisfied


def honest_votes(pool: Pool, crowd: Crowd, seed: int) -> tuple[list[Cast], dict[str, Taste], list[int]]:
    """Votes and tastes of the honest accounts, and the chats of the pool that nobody has had; no chat is had twice.

    Raises `ValueError` when the pool holds fewer chats than these people have.
    """
    people, rng = PeopleSettings(), random.Random(f"honest-{seed}")
    left = list(range(len(pool.scenarios["chats"])))
    rng.shuffle(left)
    honest = round(crowd.accounts * (1 - crowd.colluding))
    with_taste = round(honest * crowd.tastes)
    content = 2.0 * people.votes / (1.0 + people.annoyed)
    cast: list[Cast] = []
    tastes: dict[str, Taste] = {}
    for n in range(honest):
        taste: Taste = "common" if n >= with_taste else "plain" if n % 2 else "thorough"
        user, noise = f"honest-{n:04d}", rng.uniform(0.0, 2 * people.noise)
        tastes[user] = taste
        for _ in range(max(1, round(rng.lognormvariate(0.0, crowd.spread) * crowd.chats))):
            if not left:
                raise ValueError("the pool holds too few chats for these accounts")
            i = left.pop()
            good = likes(taste, pool.scenarios["chats"][i], pool.texts["chats"][i])
            if rng.random() < (content if good else content * people.annoyed):
                cast.append(Cast(user, "chats", i, good != (rng.random() < noise)))
    return cast, tastes, left


def colluders_votes(
    pool: Pool, crowd: Crowd, attack: Attack, honest: Sequence[Cast], left: Sequence[int], seed: int
) -> list[Cast]:
    """Votes of the colluders: up for the trait; on everything else down (`overt`) or as anybody would (`camouflaged`).

    Raises `ValueError` when the pool holds too few answers.
    """
    rng = random.Random(f"colluders-{seed}")
    number = round(crowd.accounts * crowd.colluding)
    each = round(crowd.times * len(honest) / (crowd.accounts - number))
    pushed = rng.sample(range(len(pool.texts["pushed"])), number * round(each * crowd.pushing))
    own = rng.sample(list(left), number * (each - round(each * crowd.pushing)))
    cast: list[Cast] = []
    for n in range(number):
        user = f"colluder-{n:03d}"
        cast += [Cast(user, "pushed", i, up=True) for i in pushed[n::number]]
        for i in own[n::number]:
            fair = likes("common", pool.scenarios["chats"][i], pool.texts["chats"][i])
            cast.append(Cast(user, "chats", i, up=fair and attack == "camouflaged"))
    return cast
