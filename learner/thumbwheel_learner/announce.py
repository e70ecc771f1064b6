"""Puts stored dead letters on the bus, where operators find them; at least once, and never in the way of reading."""

import hashlib
import logging
import threading
from collections.abc import Sequence

from sqlalchemy import Engine

from thumbwheel.bus import BusError, BusUnavailable, EventBus, NewRecord
from thumbwheel.events import DeadLettered, encode, letter_id, topic_and_key, wrap
from thumbwheel_learner.store.letters import mark_announced, unannounced
from thumbwheel_learner.store.session import reading, writing
from thumbwheel_learner.store.tables import DeadLetterRow

log = logging.getLogger(__name__)
LARGEST = 8 << 20
"""Bytes of a value that travel whole: in base64 well below what either bus takes as one record."""
_LARGEST_KEY = 64 << 10
_SMALL = 64 << 10
"""What is left of a value that the bus refuses at full length, e.g. for a limit lowered by its operator."""


class Announcer:
    """Announces in a thread of its own, so that a bus that refuses letters does not slow down the reading of others.

    A crash between append and mark announces a letter twice, under the same event id and the same key.
    """

    def __init__(self, engine: Engine, bus: EventBus, *, retry_s: float = 15.0) -> None:
        self._engine = engine
        self._bus = bus
        self._retry_s = retry_s
        self._woken = threading.Event()
        self._complained = ""

    def run(self, stop: threading.Event) -> None:
        """Announce what there is, then whatever `wake` is called for; what fails is tried again."""
        while not stop.is_set():
            self._woken.clear()
            try:
                while not stop.is_set() and self.announce():
                    pass
                self._complained = ""
            except Exception as error:  # whatever it is: the letters are stored, and the next attempt tells of them
                self._complain(error)
            self._woken.wait(self._retry_s)

    def wake(self) -> None:
        """There is a new dead letter, or it is time to stop."""
        self._woken.set()

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

    def _complain(self, error: Exception) -> None:
        if str(error) != self._complained:
            log.warning("dead letters wait to be announced, they are kept: %s", error)
        self._complained = str(error)


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
