"""The store frozen into a hashed snapshot: the only thing a training run reads. The same store gives the same hash."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from sqlalchemy import Engine
from sqlmodel import Session, col, select

from thumbwheel import box
from thumbwheel.box import Secrets
from thumbwheel.events import Envelope, FeedbackRecorded, FeedbackSealed, TurnCompleted, TurnSealed, decode
from thumbwheel.sealed import open_feedback, open_turn
from thumbwheel_learner.dataset import snapshots
from thumbwheel_learner.dataset.derive import Example, from_feedback, prompt_of
from thumbwheel_learner.dataset.examples import Demo, Judged, LoggedPrompt, Pair
from thumbwheel_learner.dataset.keys import KeySource, ask
from thumbwheel_learner.dataset.snapshots import SECTION, Frozen, Sourced
from thumbwheel_learner.store.insert import insert_if_new
from thumbwheel_learner.store.session import reading, writing
from thumbwheel_learner.store.tables import FeedbackRow, SnapshotRow, TurnRow

log = logging.getLogger(__name__)
_EXCLUDED: tuple[str, ...] = ("excluded_retracted", "excluded_lost", "excluded_erased", "excluded_damaged")
_CHUNK = 2_000
"""Rows whose keys are asked for at once."""


def freeze(engine: Engine, data: Path, keys: KeySource, *, max_prompts: int = 50_000) -> Frozen:
    """Build the snapshot of what is stored now and keep it on disk; a snapshot that is there already is reused.

    Retracted feedback and feedback on lost or unfinished turns stay out, and so does what cannot be read: because
    somebody was erased, or because its box was damaged before it came here. Of the prompts the newest `max_prompts`
    stay. Raises `KeysAway`.
    """
    excluded: Counter[str] = Counter(dict.fromkeys(_EXCLUDED, 0))
    with reading(engine) as session:
        opener = _Opener(session, keys, excluded)
        examples = [*_labels(session, opener, excluded), *_prompts(session, opener, max_prompts)]
    counts = _counts([sourced.example for sourced in examples]) | dict(excluded)
    frozen = snapshots.write(data, examples, counts)
    row = {
        "hash": frozen.snapshot.hash,
        "file": frozen.file,
        "counts": msgspec.json.encode(frozen.snapshot.counts).decode(),
        "created_ms": frozen.snapshot.created_ms,
    }
    with writing(engine) as session:
        insert_if_new(session, SnapshotRow, [row])
    return frozen


class _Opened(NamedTuple):
    envelope: Envelope
    event: TurnCompleted | FeedbackRecorded
    keys: Secrets


class _Opener:
    """Opens stored events, and looks up the texts of stored answers."""

    def __init__(self, session: Session, keys: KeySource, excluded: Counter[str]) -> None:
        self._session = session
        self._keys = keys
        self._excluded = excluded

    def opened(self, bodies: Sequence[bytes]) -> Iterator[_Opened]:
        """Event by event, the keys asked for many at once; what is erased or damaged is counted and left out."""
        for start in range(0, len(bodies), _CHUNK):
            envelopes = [decode(body) for body in bodies[start : start + _CHUNK]]
            wanted = {key_id for envelope in envelopes for key_id in _key_ids(envelope)}
            secrets = ask(self._keys, wanted)
            for envelope in envelopes:
                mine = {key_id: secrets[key_id] for key_id in _key_ids(envelope) if key_id in secrets}
                try:
                    yield _Opened(envelope, _event(envelope, mine), mine)
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


def _labels(session: Session, opener: _Opener, excluded: Counter[str]) -> list[Sourced]:
    bodies: list[bytes] = []
    rows = session.exec(select(FeedbackRow.body, FeedbackRow.retracted, FeedbackRow.turn_status))
    for body, retracted, turn_status in rows.all():
        if retracted:
            excluded["excluded_retracted"] += 1
        elif turn_status in ("lost", "open"):
            excluded["excluded_lost"] += 1
        else:
            bodies.append(body)
    examples: list[Sourced] = []
    for envelope, event, keys in opener.opened(bodies):
        if isinstance(event, FeedbackRecorded):
            used = dict(keys)
            made = list(from_feedback(envelope, event, opener.answer_of(used)))
            examples += [Sourced(example, used) for example in made]
    return examples


def _prompts(session: Session, opener: _Opener, limit: int) -> list[Sourced]:
    newest = (
        select(TurnRow.body)
        .where(TurnRow.origin == "chat", TurnRow.status == "complete")
        .order_by(col(TurnRow.created_ms).desc(), col(TurnRow.event_id).desc())
        .limit(limit)
    )
    found: list[Sourced] = []
    for envelope, event, keys in opener.opened(session.exec(newest).all()):
        prompt = prompt_of(envelope, event) if isinstance(event, TurnCompleted) else None
        if prompt is not None:
            found.append(Sourced(prompt, keys))
    return found


def _counts(examples: Sequence[Example]) -> dict[str, int]:
    names = ("pairs", "judged", "demos", "prompts", "thumbs_up", "thumbs_down", "ratings", "flags", "critiques")
    counts: Counter[str] = Counter(
        dict.fromkeys((*names, "prompts_redacted", "comparisons", "corrections", "demonstrations"), 0)
    )
    for example in examples:
        counts[SECTION[type(example)]] += 1
        match example:
            case Judged(kind="thumb"):
                counts["thumbs_up" if example.value > 0 else "thumbs_down"] += 1
            case Judged():
                counts[f"{example.kind}s"] += 1
            case LoggedPrompt(redacted=True):
                counts["prompts_redacted"] += 1
            case Pair(origin="comparison"):
                counts["comparisons"] += 1
            case Demo():
                counts[f"{example.origin}s"] += 1
            case _:
                pass
    return dict(counts)
