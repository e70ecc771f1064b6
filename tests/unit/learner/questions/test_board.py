"""The bus hears what is asked and what is taken back, at least once and under one id; what it says comes back."""

from pathlib import Path

import pytest
from sqlalchemy import Engine
from tests.learner_fakes import MemoryBus
from tests.unit.learner.questions.desk_of_chats import Ring, chat, rows, store

from thumbwheel.bus import BusUnavailable
from thumbwheel.events import (
    REVIEWS,
    Envelope,
    Event,
    PersonErased,
    ReviewAsked,
    ReviewWithdrawn,
    decode,
    wrap,
)
from thumbwheel.sealed import ReviewTexts, seal_review
from thumbwheel_learner.consume import Consumer
from thumbwheel_learner.questions.board import QuestionBoard
from thumbwheel_learner.store import questions

NOW = 1_000_000
RING = Ring()


def question(number: int, **more: object) -> tuple[Envelope, ReviewAsked]:
    review_id = f"rv-{number}"
    event = ReviewAsked(
        review_id=review_id,
        kind="judge",
        conversation_id=f"conv-{number}",
        completion_id=f"c-{number}",
        acquisition="bald",
        score=0.25,
        random=False,
        reward_model="rm-1",
        asked_ms=NOW + number,
        expires_ms=NOW + 1_000,
        box=seal_review(review_id, ReviewTexts(), RING.of(f"conv-{number}")),
    )
    return wrap(event, event_id=f"{review_id}/asked"), event


def board(engine: Engine, bus: MemoryBus, now: int = NOW) -> QuestionBoard:
    return QuestionBoard(engine, bus, clock=lambda: now)


def told(bus: MemoryBus) -> list[Event]:
    return [decode(record.value).event for record in bus.events(REVIEWS.name)]


def states(engine: Engine) -> list[str]:
    return [row.state for row in rows(engine)]


def read_back(engine: Engine, bus: MemoryBus) -> None:
    consumer = Consumer(engine, bus)
    while consumer.step(0.0):
        pass


def test_questions_are_told_once_and_withdrawals_after_them(engine: Engine) -> None:
    bus = MemoryBus()
    questions.change(engine, [question(1), question(2)], [])
    assert board(engine, bus).apply() == 2
    assert board(engine, bus).apply() == 0
    questions.change(engine, [question(3)], ["rv-1"])
    assert board(engine, bus).apply() == 2
    one, two, withdrawn, three = told(bus)
    assert [one, two, three] == [question(n)[1] for n in (1, 2, 3)]
    assert withdrawn == ReviewWithdrawn(review_id="rv-1", reason="reranked", created_ms=NOW)


def test_what_is_too_late_is_withdrawn(engine: Engine) -> None:
    bus = MemoryBus()
    questions.change(engine, [question(1)], [])
    board(engine, bus, NOW + 999).apply()
    assert states(engine) == ["open"]
    board(engine, bus, NOW + 1_000).apply()
    assert states(engine) == ["expired"]
    assert told(bus)[1:] == [ReviewWithdrawn(review_id="rv-1", reason="expired", created_ms=NOW + 1_000)]


def test_a_bus_that_is_away_is_told_later(engine: Engine) -> None:
    bus = MemoryBus()
    questions.change(engine, [question(1)], [])
    bus.down = True
    with pytest.raises(BusUnavailable):
        board(engine, bus).apply()
    bus.down = False
    assert board(engine, bus).apply() == 1
    assert len(told(bus)) == 1


def test_a_crash_between_append_and_mark_tells_the_same_again(engine: Engine) -> None:
    bus = MemoryBus()
    questions.change(engine, [question(1)], [])
    (row,) = questions.untold(engine, 10)
    board(engine, bus).apply()
    with_lost_mark = bus.events(REVIEWS.name)[0]
    assert (decode(with_lost_mark.value).event_id, with_lost_mark.value) == ("rv-1/asked", row.body)


def test_reading_our_own_question_back_is_as_good_as_the_mark(engine: Engine) -> None:
    bus = MemoryBus()
    questions.change(engine, [question(1)], [])
    bus.publish(question(1)[0])
    read_back(engine, bus)
    assert board(engine, bus).apply() == 0


def test_an_answer_closes_the_question_whatever_we_said_of_it(engine: Engine) -> None:
    bus = MemoryBus()
    questions.change(engine, [question(1), question(2)], ["rv-2"])
    board(engine, bus).apply()
    for number in (1, 2):
        bus.publish(ReviewWithdrawn(review_id=f"rv-{number}", reason="answered", created_ms=NOW))
    read_back(engine, bus)
    assert states(engine) == ["answered", "answered"]
    assert board(engine, bus, NOW + 5_000).apply() == 0


def test_an_answered_question_is_not_taken_back(engine: Engine) -> None:
    questions.change(engine, [question(1)], [])
    store(engine, [ReviewWithdrawn(review_id="rv-1", reason="answered", created_ms=NOW)])
    questions.change(engine, [], ["rv-1"])
    assert states(engine) == ["answered"]


def test_a_store_that_was_lost_learns_of_its_questions_from_the_bus(engine: Engine) -> None:
    bus = MemoryBus()
    bus.publish(question(1)[0])
    bus.publish(question(2)[0])
    bus.publish(ReviewWithdrawn(review_id="rv-2", reason="answered", created_ms=NOW))
    bus.publish(ReviewWithdrawn(review_id="rv-9", reason="expired", created_ms=NOW))
    read_back(engine, bus)
    assert states(engine) == ["open", "answered"]
    assert board(engine, bus).apply() == 0


def test_questions_about_somebody_who_is_erased_are_emptied_withdrawn_and_forgotten(
    engine: Engine, tmp_path: Path
) -> None:
    bus = MemoryBus()
    store(engine, [chat(1), chat(2)], RING)
    questions.change(engine, [question(1), question(2)], [])
    board(engine, bus).apply()
    erased = PersonErased(erasure_id="er-1", keys=[RING.key_id("conv-1")], created_ms=NOW)
    bus.publish(erased)
    read_back(engine, bus)
    first = rows(engine)[0]
    assert (first.state, first.body) == ("erased", b"")
    board(engine, bus).apply()
    assert told(bus)[-1] == ReviewWithdrawn(review_id="rv-1", reason="erased", created_ms=NOW)
    assert [row.review_id for row in rows(engine)] == ["rv-2"]
    assert questions.change(engine, [question(1)], []) == 0
