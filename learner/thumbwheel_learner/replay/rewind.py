"""Offsets set back, so that the learner reads again: a no-op on an intact store, and a repair of a damaged one."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Engine

from thumbwheel.bus import EventBus, TopicPartition
from thumbwheel.events import TOPICS
from thumbwheel_learner.consume import TOPICS_READ
from thumbwheel_learner.errors import LearnerError
from thumbwheel_learner.replay.bounds import Span, named, span_of
from thumbwheel_learner.replay.rebuild import offsets_of
from thumbwheel_learner.store.ingest import move_offset
from thumbwheel_learner.store.session import writing

BEGINNING = "beginning"
OLDEST = "oldest"
_TOPIC_PREFIX = "thumbwheel."


class RewindRefused(LearnerError):
    """The offsets were left alone; the message says why."""


class Moved(NamedTuple):
    """One partition that will be read again."""

    at: TopicPartition
    before: int
    after: int


def rewind(engine: Engine, bus: EventBus, words: Sequence[str]) -> list[Moved]:
    """Set the stored offsets back to where `words` say, all or none; returns those that moved.

    A word is `beginning`, `oldest` (as far back as the bus reaches) or TOPIC/PARTITION/OFFSET. Nothing that is on the
    bus is ever skipped; a store that stands before its beginning goes on from there. The caller holds the learner's
    lock. Raises `RewindRefused`, `NotThere`, `OffsetMoved`, `BusError`.
    """
    span, stored = span_of(bus), offsets_of(engine)
    wanted = _wanted(words, span)
    span.require({**span.begins, **wanted})
    moves = [Moved(at, stored.get(at, 0), offset) for at, offset in sorted(wanted.items())]
    for at, before, after in moves:
        if after > max(before, span.begins[at]):
            raise RewindRefused(f"{named(at)}: stored up to {before}; going on from {after} would skip what is between")
    moves = [move for move in moves if move.after != move.before]
    with writing(engine) as session:
        for at, before, after in moves:
            move_offset(session, at, expected=before, reached=after)
    return moves


def _wanted(words: Sequence[str], span: Span) -> Mapping[TopicPartition, int]:
    if BEGINNING in words or OLDEST in words:
        if len(words) > 1:
            raise RewindRefused(f"{BEGINNING} and {OLDEST} speak of all partitions; name nothing beside them")
        return {at: first if words[0] == OLDEST else 0 for at, first in span.begins.items()}
    return dict(_parse(word) for word in words)


def _parse(word: str) -> tuple[TopicPartition, int]:
    topic, _, rest = word.partition("/")
    partition, _, offset = rest.partition("/")
    name = topic if topic in TOPICS else _TOPIC_PREFIX + topic
    if name not in TOPICS_READ:
        raise RewindRefused(f"{word!r}: the learner reads {', '.join(TOPICS_READ)}, not {topic!r}")
    if not (partition.isdecimal() and offset.isdecimal()):
        raise RewindRefused(f"{word!r}: write {BEGINNING}, {OLDEST} or TOPIC/PARTITION/OFFSET, e.g. turns/0/1200")
    if int(partition) >= TOPICS[name].partitions:
        raise RewindRefused(f"{word!r}: {name} has the partitions 0 to {TOPICS[name].partitions - 1}")
    return TopicPartition(name, int(partition)), int(offset)
