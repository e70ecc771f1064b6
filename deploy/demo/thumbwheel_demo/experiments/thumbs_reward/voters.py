"""Who votes on the answers, and how: people who mind quality alone, and people whom length impresses."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

from thumbwheel_demo import wording
from thumbwheel_demo.corpus.model import Scenario
from thumbwheel_demo.experiments.chats import snapshot_of
from thumbwheel_demo.experiments.thumbs_reward.answers import rollouts
from thumbwheel_demo.people import PeopleSettings
from thumbwheel_learner.dataset.examples import Judged, Snapshot

Population = Literal["fair", "impressed by length"]


@dataclass(frozen=True)
class Habits:
    """How people vote; how often they do is as in the demo's own runs."""

    votes: float = 0.8
    noise: float = PeopleSettings.noise
    """Share of fair votes by mistake."""
    impressed: float = 1.0
    """Logits that P(up) gains per standard deviation of the answer's words, in the other population."""
    training: float = 0.3
    """Share of the customers whose votes are learned from; those of all others are held out."""


@dataclass(frozen=True)
class Desk:
    """One seed's evidence, and what it is measured with."""

    training: Snapshot
    held_out: list[Judged]
    """Thumbs of other people on answers in other conversations, to other prompts."""
    satisfied: list[bool]
    """Whether the customer behind each held-out thumb was, which only the oracle knows."""


def open_desk(
    scenarios: Sequence[Scenario],
    texts: Sequence[str],
    asked: Sequence[list[int]],
    population: Population,
    habits: Habits,
    seed: int,
) -> Desk:
    """Deal customers out to the two sides and let them vote; agents correct a tenth of the bad answers."""
    customers = sorted({s.customer for s in scenarios})
    random.Random(f"sides-{seed}").shuffle(customers)
    taught = set(customers[: round(len(customers) * habits.training)])
    seen = {str(s.messages) for s in scenarios if s.customer in taught}
    mine = [i for i, s in enumerate(scenarios) if s.customer in taught]
    others = [i for i, s in enumerate(scenarios) if s.customer not in taught and str(s.messages) not in seen]

    def chats(which: list[int]) -> Snapshot:
        # Nobody errs yet: what a thumb says here is the hidden satisfaction.
        people = PeopleSettings(seed=seed, votes=habits.votes, noise=0.0)
        said = rollouts([texts[i] for i in which])
        return snapshot_of([scenarios[i] for i in which], said, [asked[i] for i in which], people)

    words = np.array([len(wording.words(text)) for text in texts], dtype=float)
    impressed = habits.impressed if population == "impressed by length" else 0.0

    def heard(thumb: Judged) -> Judged:
        length = (len(wording.words(thumb.answer)) - words.mean()) / words.std()
        chance = chance_of_up(thumb.value > 0.5, float(length), habits.noise, impressed)
        rng = random.Random(f"thumb-{seed}-{thumb.conversation_id}")
        return msgspec.structs.replace(thumb, value=float(rng.random() < chance))

    training, held_out = chats(mine), chats(others).judged
    training = msgspec.structs.replace(training, judged=[heard(thumb) for thumb in training.judged])
    return Desk(training, [heard(thumb) for thumb in held_out], [thumb.value > 0.5 for thumb in held_out])


def chance_of_up(satisfied: bool, length: float, noise: float, impressed: float) -> float:
    """P(thumb up): 1 − noise or noise, moved by `impressed` logits per standard deviation of length."""
    if not impressed:
        return 1 - noise if satisfied else noise
    certain = math.log(max(1 - noise, 1e-9) / max(noise, 1e-9))
    return 1 / (1 + math.exp(-(certain if satisfied else -certain) - impressed * length))
