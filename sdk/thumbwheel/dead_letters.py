"""Dead letters as operators meet them: read the topic whole, put a record back where it came from, or let it go."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec

from thumbwheel.bus import EventBus, NewRecord, key_text
from thumbwheel.bus.whole import read_whole
from thumbwheel.errors import ThumbwheelError
from thumbwheel.events import (
    DEAD_LETTERS,
    DeadLettered,
    DeadLetterSettled,
    decode,
    encode,
    letter_id,
    new_id,
    now_ms,
    topic_and_key,
    wrap,
)

Outcome = Literal["replayed", "dismissed"]


class NotReplayable(ThumbwheelError):
    """That letter, or what is to be replayed in its place, cannot go back to its topic; the message says why."""


class Letter(NamedTuple):
    """A dead letter and what became of it."""

    record: DeadLettered
    settled: DeadLetterSettled | None

    @property
    def id(self) -> str:
        """`<topic>/<partition>/<offset>`."""
        return letter_id(self.record)

    @property
    def state(self) -> Literal["open", "replayed", "dismissed"]:
        """open until an operator has settled it."""
        return self.settled.outcome if self.settled else "open"


def read_letters(bus: EventBus) -> Mapping[str, Letter]:
    """Every dead letter by its id, the oldest first; raises `BusUnavailable`, `BusError`.

    What does not parse on this topic is left out: it can only be another's writing or a newer Thumbwheel's.
    """
    letters: dict[str, DeadLettered] = {}
    settled: dict[str, DeadLetterSettled] = {}
    for record in read_whole(bus, DEAD_LETTERS.name):
        try:
            event = decode(record.value).event
        except msgspec.MsgspecError:
            continue
        match event:
            case DeadLettered():
                letters[letter_id(event)] = event
            case DeadLetterSettled():
                settled[letter_id(event)] = event
            case _:
                continue
    oldest_first = sorted(letters.items(), key=lambda item: (item[1].created_ms, item[1].topic, item[1].offset))
    return {name: Letter(letter, settled.get(name)) for name, letter in oldest_first}


def mended(letter: Letter, value: bytes) -> NewRecord:
    """The record to replay in place of a letter: an event of the same topic; raises `NotReplayable`."""
    try:
        event = decode(value).event
    except msgspec.MsgspecError as error:
        raise NotReplayable(f"the mended value is not an event: {error}") from error
    topic, key = topic_and_key(event)
    if topic.name != letter.record.topic:
        raise NotReplayable(f"the mended value belongs on {topic.name}, the letter came from {letter.record.topic}")
    return NewRecord(topic.name, key, new_id("ev"), value)


def original(letter: Letter) -> NewRecord:
    """The record as it came; raises `NotReplayable` for one that was cut."""
    record = letter.record
    if not record.whole:
        raise NotReplayable(
            f"{letter.id} is too large to be carried whole ({record.size} bytes): the {record.reported_by}'s database "
            "has all of it (learner_dead_letter); replay that, or something mended, with --value FILE"
        )
    return NewRecord(record.topic, key_text(record.key), new_id("ev"), record.value)


def replay(bus: EventBus, letter: Letter, record: NewRecord) -> None:
    """Append `record` to the topic it came from, then settle the letter; raises `BusUnavailable`, `BusError`.

    Safe to repeat: readers know an event by the id within its envelope. One that is bad again is a new letter.
    """
    bus.append([record])
    settle(bus, [letter], "replayed")


def settle(bus: EventBus, letters: Sequence[Letter], outcome: Outcome) -> None:
    """Note that somebody is done with these letters; raises `BusUnavailable`, `BusError`."""
    records: list[NewRecord] = []
    for letter in letters:
        where = letter.record
        event = DeadLetterSettled(
            topic=where.topic, partition=where.partition, offset=where.offset, outcome=outcome, created_ms=now_ms()
        )
        envelope = wrap(event)
        topic, key = topic_and_key(event)
        records.append(NewRecord(topic.name, key, envelope.event_id, encode(envelope)))
    bus.append(records)
