"""Puts stored dead letters on the bus, where operators find them; at least once, and never in the way of reading."""

import hashlib
from collections.abc import Sequence

from sqlalchemy import Engine

from thumbwheel.bus import BusError, BusUnavailable, EventBus, NewRecord
from thumbwheel.events import DeadLettered, encode, letter_id, topic_and_key, wrap
from thumbwheel_learner.store.letters import mark_announced, unannounced
from thumbwheel_learner.store.session import reading, writing
from thumbwheel_learner.store.tables import DeadLetterRow

LARGEST = 8 << 20
"""Bytes of a value that travel whole: in base64 well below what either bus takes as one record."""
_LARGEST_KEY = 64 << 10
_SMALL = 64 << 10
"""What is left of a value that the bus refuses at full length, e.g. for a limit lowered by its operator."""


class Announcer:
    """Announces beside the reading (see `Woken`), which a bus that refuses letters must not slow down.

    A crash between append and mark announces a letter twice, under the same event id and the same key.
    """

    def __init__(self, engine: Engine, bus: EventBus) -> None:
        self._engine = engine
        self._bus = bus

    def announce(self) -> int:
        """Announce one load; returns how many letters. Raises `BusError` or the database's error: call again."""
        with reading(self._engine) as session:
            letters = unannounced(session)
        if not letters:
            return 0
        try:
            self._bus.append([_record(letter, LARGEST) for letter in letters])
        except BusUnavailable:
            raise
        except BusError as error:
            return self._singly(letters, error)
        self._mark(letters)
        return len(letters)

    def _singly(self, letters: Sequence[DeadLetterRow], refusal: BusError) -> int:
        """One that is refused must not keep back the others; raises when not even one went."""
        went: list[DeadLetterRow] = []
        for letter in letters:
            for limit in (LARGEST, _SMALL):
                try:
                    self._bus.append([_record(letter, limit)])
                except BusUnavailable:
                    self._mark(went)
                    raise
                except BusError as error:
                    refusal = error
                    continue
                went.append(letter)
                break
        self._mark(went)
        if not went:
            raise refusal
        return len(went)

    def _mark(self, letters: Sequence[DeadLetterRow]) -> None:
        if letters:
            with writing(self._engine) as session:
                mark_announced(session, letters)


def _record(letter: DeadLetterRow, limit: int) -> NewRecord:
    event = DeadLettered(
        topic=letter.topic,
        partition=letter.partition,
        offset=letter.offset,
        reason=letter.reason,
        key=letter.key[:_LARGEST_KEY],
        value=letter.value[:limit],
        whole=len(letter.key) <= _LARGEST_KEY and len(letter.value) <= limit,
        size=len(letter.value),
        sha256=hashlib.sha256(letter.value).hexdigest(),
        created_ms=letter.created_ms,
    )
    topic, key = topic_and_key(event)
    envelope = wrap(event, event_id=f"dead-letter/{letter_id(event)}")
    return NewRecord(topic.name, key, envelope.event_id, encode(envelope))
