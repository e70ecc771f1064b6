import hashlib
import threading
import time
from collections.abc import Sequence

import pytest
from sqlalchemy import Engine
from sqlmodel import select
from tests.learner_events import feedback
from tests.learner_fakes import MemoryBus

from thumbwheel.bus import BusError, BusUnavailable, NewRecord, TopicPartition, key_text
from thumbwheel.events import DEAD_LETTERS, FEEDBACK, DeadLettered, decode, encode, wrap
from thumbwheel_learner.announce import LARGEST, Announcer
from thumbwheel_learner.consume import Consumer
from thumbwheel_learner.store.session import reading
from thumbwheel_learner.store.tables import DeadLetterRow
from thumbwheel_learner.woken import Woken

P0 = TopicPartition(FEEDBACK.name, 0)


class StrictBus(MemoryBus):
    """Refuses letters over a size, as a bus does whose operator has lowered its limits; remembers event ids."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 1 << 30
        self.event_ids: list[str] = []

    def append(self, records: Sequence[NewRecord]) -> None:
        if any(len(record.value) > self.largest for record in records):
            raise BusError("refused: too large")
        super().append(records)
        self.event_ids += [record.event_id for record in records]


def poison(engine: Engine, bus: MemoryBus, *values: bytes, key: str = "fb-1") -> None:
    """Let a learner meet these values."""
    for value in values:
        bus.append_raw(P0, key, value)
    consumer = Consumer(engine, bus)
    while consumer.step(0.0):
        pass
    consumer.close()


def announced(bus: MemoryBus) -> list[DeadLettered]:
    events = [decode(record.value).event for record in bus.events(DEAD_LETTERS.name)]
    assert all(isinstance(event, DeadLettered) for event in events)
    return events  # type: ignore[return-value]


def waiting(engine: Engine) -> int:
    with reading(engine) as session:
        return sum(not row.announced for row in session.exec(select(DeadLetterRow)).all())


def test_a_letter_is_announced_once_as_it_came(engine: Engine) -> None:
    bus, value = StrictBus(), b'{"half\xff'
    poison(engine, bus, encode(wrap(feedback(1))), value, key=key_text(b"fb-\xfe"))
    announcer = Announcer(engine, bus)
    assert announcer.announce() == 1
    assert announcer.announce() == 0
    [letter] = announced(bus)
    assert (letter.topic, letter.partition, letter.offset) == (*P0, 1)
    assert (letter.key, letter.value, letter.whole, letter.size) == (b"fb-\xfe", value, True, len(value))
    assert letter.sha256 == hashlib.sha256(value).hexdigest()
    assert "not an event" in letter.reason
    [record] = bus.events(DEAD_LETTERS.name)
    assert record.key == f"{FEEDBACK.name}/0/1"


def test_a_crash_before_the_mark_announces_again_under_the_same_id(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = StrictBus()
    poison(engine, bus, b"nonsense")
    with monkeypatch.context() as crashing:
        crashing.setattr(Announcer, "_mark", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            Announcer(engine, bus).announce()
    assert Announcer(engine, bus).announce() == 1
    assert len(bus.event_ids) == 2
    assert len(set(bus.event_ids)) == 1


def test_a_bus_that_is_away_delays_nothing_but_the_announcement(engine: Engine) -> None:
    bus = StrictBus()
    poison(engine, bus, b"one", b"two")
    bus.down = True
    with pytest.raises(BusUnavailable):
        Announcer(engine, bus).announce()
    assert waiting(engine) == 2
    bus.down = False
    assert Announcer(engine, bus).announce() == 2
    assert [letter.value for letter in announced(bus)] == [b"one", b"two"]


def test_what_is_too_large_to_travel_again_is_cut_and_says_so(engine: Engine) -> None:
    bus, value = StrictBus(), b"x" * (LARGEST + 1)
    poison(engine, bus, value)
    Announcer(engine, bus).announce()
    [letter] = announced(bus)
    assert (len(letter.value), letter.whole, letter.size) == (LARGEST, False, LARGEST + 1)
    assert letter.sha256 == hashlib.sha256(value).hexdigest()


def test_one_that_the_bus_refuses_is_cut_and_keeps_back_no_other(engine: Engine) -> None:
    bus = StrictBus()
    poison(engine, bus, b"one", b"x" * 200_000, b"three")
    bus.largest = 100_000
    assert Announcer(engine, bus).announce() == 3
    assert [(letter.whole, letter.size) for letter in announced(bus)] == [(True, 3), (False, 200_000), (True, 5)]


def test_one_that_is_refused_however_short_stays_and_keeps_back_no_other(engine: Engine) -> None:
    bus = StrictBus()
    poison(engine, bus, b"x" * 200_000, b"two")
    bus.largest = 2_000
    announcer = Announcer(engine, bus)
    assert announcer.announce() == 1
    with pytest.raises(BusError, match="too large"):
        announcer.announce()
    assert [letter.value for letter in announced(bus)] == [b"two"]
    assert waiting(engine) == 1


def test_many_letters_go_in_several_loads(engine: Engine) -> None:
    bus = StrictBus()
    poison(engine, bus, *(b"%d" % number for number in range(250)))
    announcer = Announcer(engine, bus)
    assert [announcer.announce() for _ in range(4)] == [100, 100, 50, 0]
    assert [letter.offset for letter in announced(bus)] == list(range(250))


def test_the_thread_announces_what_is_left_then_what_it_is_woken_for_and_outlives_an_outage(engine: Engine) -> None:
    bus, stop = StrictBus(), threading.Event()
    poison(engine, bus, b"left by the last process")
    bus.down = True
    announcing = Woken(Announcer(engine, bus).announce, "letters wait", retry_s=0.05)
    thread = threading.Thread(target=announcing.run, args=(stop,))
    thread.start()
    try:
        time.sleep(0.1)
        bus.down = False
        until(lambda: len(announced(bus)) == 1)
        poison(engine, bus, b"new")
        announcing.wake()
        until(lambda: len(announced(bus)) == 2)
    finally:
        stop.set()
        announcing.wake()
        thread.join(10)
    assert not thread.is_alive()


def until(holds: object) -> None:
    deadline = time.monotonic() + 10
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)
