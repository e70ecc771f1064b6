"""Chats in a store, a reward model nobody has trained, and an engine that says what it is told to."""

from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy import Engine
from sqlmodel import select
from tests.learner_events import turn
from tests.learner_fakes import MemoryBus

from thumbwheel.box import Secrets
from thumbwheel.events import Event, ReviewAsked, TurnCompleted, decode, wrap
from thumbwheel.sealed import seal_turn
from thumbwheel_learner.consume import Consumer
from thumbwheel_learner.rollouts.engine import Rollout
from thumbwheel_learner.store.session import reading
from thumbwheel_learner.store.tables import QuestionRow

WORDS = ("yes", "no", "please", "sorry", "thanks", "rude", "order", "late")


class Ring:
    """A `KeySource`: one key for each conversation."""

    def __init__(self) -> None:
        self.gone: set[str] = set()

    def key_id(self, conversation: str) -> str:
        return conversation.encode().hex().rjust(32, "0")[-32:]

    def of(self, conversation: str) -> Secrets:
        return self.get([self.key_id(conversation)])

    def get(self, ids: object) -> Secrets:
        return {i: i.encode() for i in ids if i not in self.gone}  # type: ignore[attr-defined]


class Parrot:
    """A `RolloutEngine` that gives the same second answer to everybody."""

    def __init__(self, text: str = "good day", *, finished: bool = True) -> None:
        self.text = text
        self.finished = finished
        self.asked: list[list[int]] = []

    def sample(
        self, adapter: Path | None, prompts: Sequence[Sequence[int]], *, n: int, max_tokens: int, temperature: float,
        seed: int,
    ) -> list[list[Rollout]]:  # fmt: skip
        self.asked += [list(prompt) for prompt in prompts]
        return [[Rollout([1], [-0.5], self.finished, self.text)] for _ in prompts]


def chat(number: int, conversation: str | None = None) -> TurnCompleted:
    """Chat `number`, whose answer is like no other."""
    said = f"{WORDS[number % 8]} {WORDS[number // 8 % 8]}"
    return turn(number, conversation=conversation, answer=said)


def store(engine: Engine, told: Sequence[Event], ring: Ring | None = None) -> None:
    """Read events into the store, turns sealed under `ring`."""
    bus = MemoryBus()
    for number, event in enumerate(told):
        sealed = ring is not None and isinstance(event, TurnCompleted)
        travels = seal_turn(event, ring.of(event.conversation_id)) if sealed else event
        bus.publish(wrap(travels, event_id=f"told-{number}"))
    consumer = Consumer(engine, bus)
    while consumer.step(0.0):
        pass


def rows(engine: Engine, which: Callable[[QuestionRow], bool] = lambda row: True) -> list[QuestionRow]:
    """Questions in the store, by id."""
    with reading(engine) as session:
        return sorted(filter(which, session.exec(select(QuestionRow))), key=lambda row: row.review_id)


def is_open(row: QuestionRow) -> bool:
    return row.state == "open"


def asked(row: QuestionRow) -> ReviewAsked:
    """The question as it travels."""
    event = decode(row.body).event
    assert isinstance(event, ReviewAsked)
    return event
