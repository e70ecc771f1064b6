"""The comparison finds what it is there to find."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete, update
from tests.databases import learner_store
from tests.faults.ledger import Ledger
from tests.faults.plan import plan
from tests.faults.verdict import behind, judge
from tests.learner_events import feedback, turn
from tests.learner_fakes import MemoryBus

from thumbwheel.types import Correction, Feedback, FeedbackRecord, Thumb
from thumbwheel_learner.consume import Consumer
from thumbwheel_learner.dataset.keys import NoKeys
from thumbwheel_learner.store.session import writing
from thumbwheel_learner.store.tables import FeedbackRow, table_of

ROWS = table_of(FeedbackRow)


class Books:
    """A ledger and a store that agree: ten thumbs and a correction."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        self.folder = folder
        self.engine = engine
        self.ledger = Ledger(folder / "ledger.jsonl")
        bus = MemoryBus()
        for number in range(10):
            bus.publish(turn(number))
            bus.publish(feedback(number))
            self.acknowledge(number, Thumb(completion_id=f"c-{number}", value="up", user=f"u-{number % 5}"))
        better = Correction(completion_id="c-3", text="better", user="u-3")
        bus.publish(feedback(3, better, feedback_id="fb-better"))
        self.acknowledge(3, better, feedback_id="fb-better")
        consumer = Consumer(self.engine, bus)
        while consumer.step(0.0):
            pass

    def acknowledge(self, number: int, given: Feedback, feedback_id: str | None = None, revision: int = 1) -> None:
        self.ledger.write(
            FeedbackRecord(
                feedback_id=feedback_id or f"fb-{number}", revision=revision, retracted=False,
                kind="correction" if isinstance(given, Correction) else "thumb",
                created_ms=1, updated_ms=1, feedback=given,
            )
        )  # fmt: skip


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    with learner_store(tmp_path / "learner.db") as engine:
        found = Books(tmp_path, engine)
        yield found
        found.ledger.close()


def test_agreement_is_clean(books: Books) -> None:
    verdict = judge(books.ledger, books.engine, books.folder, NoKeys())
    assert verdict.is_clean()
    assert (verdict.in_snapshot, verdict.unasked, behind(books.ledger, books.engine)) == (11, [], [])


def test_what_is_not_in_the_store_is_lost(books: Books) -> None:
    with writing(books.engine) as session:
        session.connection().execute(delete(ROWS).where(ROWS.c.feedback_id == "fb-4"))
    verdict = judge(books.ledger, books.engine, books.folder, NoKeys())
    assert (verdict.is_clean(), verdict.lost) == (False, ["fb-4"])
    assert behind(books.ledger, books.engine) == ["fb-4"]


def test_an_older_revision_or_another_value_is_lost(books: Books) -> None:
    books.acknowledge(5, Thumb(completion_id="c-5", value="down", user="u-0"), revision=2)
    books.acknowledge(6, Thumb(completion_id="c-6", value="down", user="u-1"))
    assert judge(books.ledger, books.engine, books.folder, NoKeys()).lost == ["fb-5", "fb-6"]


def test_the_same_word_under_two_ids_is_doubled(books: Books) -> None:
    with writing(books.engine) as session:
        session.connection().execute(update(ROWS).where(ROWS.c.feedback_id == "fb-7").values(event_id="another"))
    verdict = judge(books.ledger, books.engine, books.folder, NoKeys())
    assert (len(verdict.doubled), len(verdict.missing_in_snapshot)) == (1, 1)


def test_the_books_survive_the_one_who_keeps_them(books: Books, tmp_path: Path) -> None:
    again = Ledger(tmp_path / "ledger.jsonl")
    assert again.entries == books.ledger.entries
    again.close()


def test_half_of_the_kills_are_at_failpoints_and_every_part_gets_its_share() -> None:
    kills = plan(1, 100, ["postgres", "broker", "service", "learner"], has_relay=True)
    assert sum(k.failpoint is not None for k in kills) == 50
    assert {k.part for k in kills if k.failpoint is None} == {"postgres", "broker", "service", "learner"}
    assert kills == plan(1, 100, ["postgres", "broker", "service", "learner"], has_relay=True)
    assert not any(k.failpoint and "relay" in k.failpoint for k in plan(1, 100, ["service"], has_relay=False))
