"""The client's books against what the learner holds: its store, its dead letters and the snapshot it would train on."""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Engine
from sqlmodel import select
from tests.faults.ledger import Entry, Ledger, canonical

from thumbwheel import box
from thumbwheel.events import FeedbackRecorded, FeedbackSealed, decode
from thumbwheel.sealed import open_feedback
from thumbwheel_learner.dataset.examples import Snapshot
from thumbwheel_learner.dataset.freeze import freeze
from thumbwheel_learner.dataset.keys import KeySource
from thumbwheel_learner.dataset.snapshots import load
from thumbwheel_learner.store.session import reading
from thumbwheel_learner.store.tables import DeadLetterRow, FeedbackRow

SECTION_OF = {"thumb": "judged", "rating": "judged", "flag": "judged", "correction": "demos"}


class Verdict(NamedTuple):
    """What a run has shown."""

    lost: list[str]
    """Acknowledged, and not in the store, or in an older revision, or with another value."""
    missing_in_snapshot: list[str]
    doubled: list[str]
    """In the snapshot more than once, or under two ids."""
    dead_letters: list[str]
    unasked: list[str]
    """In the store without anybody having been told yes: an interrupted run leaves some."""
    on_lost_turns: int
    """Kept and counted, and left out of training: the turn itself was lost in a crash."""
    in_snapshot: int

    def is_clean(self) -> bool:
        return not (self.lost or self.missing_in_snapshot or self.doubled or self.dead_letters)

    def figures(self) -> dict[str, Any]:
        return {name: value if isinstance(value, int) else len(value) for name, value in self._asdict().items()}


def behind(ledger: Ledger, engine: Engine) -> list[str]:
    """What the learner has not stored yet."""
    with reading(engine) as session:
        stored = dict(session.exec(select(FeedbackRow.feedback_id, FeedbackRow.revision)).all())
    return [e.feedback_id for e in ledger.entries.values() if stored.get(e.feedback_id, 0) < e.revision]


def judge(ledger: Ledger, engine: Engine, folder: Path, keys: KeySource) -> Verdict:
    """Compare; freezes the store as a training run would, and reads the snapshot back against its hash."""
    snapshot = load(folder, freeze(engine, folder, keys).snapshot.hash, keys).snapshot
    with reading(engine) as session:
        rows = {row.feedback_id: row for row in session.exec(select(FeedbackRow)).all()}
        letters = [f"{r.topic}/{r.partition}@{r.offset}: {r.reason}" for r in session.exec(select(DeadLetterRow)).all()]
    lost = [e.feedback_id for e in ledger.entries.values() if not _is_held(e, rows.get(e.feedback_id), keys)]
    seen = _sections(snapshot)
    expected: dict[str, set[str]] = {"judged": set(), "demos": set()}
    unasked = {name: row.event_id for name, row in rows.items() if name not in ledger.entries}
    on_lost_turns = 0
    for entry in ledger.entries.values():
        row = rows.get(entry.feedback_id)
        if row is None or entry.retracted:
            continue
        if row.turn_status == "lost":
            on_lost_turns += 1
        else:
            expected[SECTION_OF[entry.kind]].add(row.event_id)
    return Verdict(
        lost=lost,
        missing_in_snapshot=sorted(i for name, ids in expected.items() for i in ids if i not in seen[name]),
        doubled=sorted(
            event
            for name, ids in expected.items()
            for event, times in seen[name].items()
            if times > 1 or event not in ids | set(unasked.values())
        ),
        dead_letters=letters,
        unasked=sorted(unasked),
        on_lost_turns=on_lost_turns,
        in_snapshot=sum(len(ids) for ids in expected.values()),
    )


def _is_held(entry: Entry, row: FeedbackRow | None, keys: KeySource) -> bool:
    if row is None or row.revision != entry.revision or row.retracted != entry.retracted:
        return False
    event = decode(row.body).event
    if isinstance(event, FeedbackSealed):
        event = open_feedback(event, keys.get(box.key_ids(event.box)))
    return isinstance(event, FeedbackRecorded) and (entry.retracted or canonical(event.feedback) == entry.value)


def _sections(snapshot: Snapshot) -> dict[str, Counter[str]]:
    return {
        "judged": Counter(example.event_id for example in snapshot.judged),
        "demos": Counter(example.event_id for example in snapshot.demos),
    }
