"""Opens the stored events of people, as far as their keys are there."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from sqlmodel import Session, select

from thumbwheel import box
from thumbwheel.box import Secrets
from thumbwheel.events import Envelope, FeedbackRecorded, FeedbackSealed, TurnCompleted, TurnSealed, decode
from thumbwheel.sealed import open_feedback, open_turn
from thumbwheel_learner.dataset.keys import KeySource, ask
from thumbwheel_learner.store.tables import TurnRow

log = logging.getLogger(__name__)
_CHUNK = 2_000
"""Rows whose keys are asked for at once."""


class Opened(NamedTuple):
    """An event out of its box, and the keys that opened it."""

    envelope: Envelope
    event: TurnCompleted | FeedbackRecorded
    keys: Secrets


class Opener:
    """Opens stored events, and looks up the texts of stored answers."""

    def __init__(self, session: Session, keys: KeySource, excluded: Counter[str]) -> None:
        self._session = session
        self._keys = keys
        self._excluded = excluded

    def opened(self, bodies: Sequence[bytes]) -> Iterator[Opened]:
        """Event by event, the keys asked for many at once; what is erased or damaged is counted and left out."""
        for start in range(0, len(bodies), _CHUNK):
            envelopes = [decode(body) for body in bodies[start : start + _CHUNK]]
            wanted = {key_id for envelope in envelopes for key_id in _key_ids(envelope)}
            secrets = ask(self._keys, wanted)
            for envelope in envelopes:
                mine = {key_id: secrets[key_id] for key_id in _key_ids(envelope) if key_id in secrets}
                try:
                    yield Opened(envelope, _event(envelope, mine), mine)
                except box.Erased:
                    self._excluded["excluded_erased"] += 1
                except box.BoxDamaged as error:
                    log.warning("event %s cannot be used: %s", envelope.event_id, error)
                    self._excluded["excluded_damaged"] += 1

    def answer_of(self, used: dict[str, bytes]) -> Callable[[str, str, int], str | None]:
        """Finds the text of a stored answer; the keys of what it finds are added to `used`."""

        def find(tenant: str, completion_id: str, choice: int) -> str | None:
            mine = (TurnRow.tenant == tenant, TurnRow.completion_id == completion_id)
            bodies = self._session.exec(select(TurnRow.body).where(*mine)).all()
            for _, turn, keys in self.opened(bodies):
                if isinstance(turn, TurnCompleted):
                    used.update(keys)
                    return next((c.text for c in turn.choices if c.index == choice), None)
            return None

        return find


def _key_ids(envelope: Envelope) -> list[str]:
    event = envelope.event
    return box.key_ids(event.box) if isinstance(event, TurnSealed | FeedbackSealed) else []


def _event(envelope: Envelope, keys: Mapping[str, bytes]) -> TurnCompleted | FeedbackRecorded:
    match envelope.event:
        case TurnSealed() as sealed:
            return open_turn(sealed, keys)
        case FeedbackSealed() as sealed:
            return open_feedback(sealed, keys)
        case TurnCompleted() | FeedbackRecorded() as event:
            return event
        case other:
            raise TypeError(f"a stored body holds a {type(other).__name__}")
