"""The store frozen into a hashed snapshot: the only thing a training run reads. The same store gives the same hash."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
from sqlalchemy import Engine
from sqlmodel import Session, col, select

from thumbwheel.events import FeedbackRecorded, TurnCompleted
from thumbwheel_learner.dataset import snapshots
from thumbwheel_learner.dataset.derive import Example, from_feedback, prompt_of
from thumbwheel_learner.dataset.examples import Demo, Judged, LoggedPrompt, Pair
from thumbwheel_learner.dataset.keys import KeySource
from thumbwheel_learner.dataset.opener import Opener
from thumbwheel_learner.dataset.snapshots import SECTION, Frozen, Sourced
from thumbwheel_learner.store.insert import insert_if_new
from thumbwheel_learner.store.session import reading, writing
from thumbwheel_learner.store.tables import FeedbackRow, SnapshotRow, TurnRow

_EXCLUDED: tuple[str, ...] = ("excluded_retracted", "excluded_lost", "excluded_erased", "excluded_damaged")


def freeze(engine: Engine, data: Path, keys: KeySource, *, max_prompts: int = 50_000) -> Frozen:
    """Build the snapshot of what is stored now and keep it on disk; a snapshot that is there already is reused.

    Retracted feedback and feedback on lost or unfinished turns stay out, and so does what cannot be read: because
    somebody was erased, or because its box was damaged before it came here. Of the prompts the newest `max_prompts`
    stay. Raises `KeysAway`.
    """
    excluded: Counter[str] = Counter(dict.fromkeys(_EXCLUDED, 0))
    with reading(engine) as session:
        opener = Opener(session, keys, excluded)
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


def _labels(session: Session, opener: Opener, excluded: Counter[str]) -> list[Sourced]:
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


def _prompts(session: Session, opener: Opener, limit: int) -> list[Sourced]:
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
    names = ("thumbs_up", "thumbs_down", "ratings", "flags", "prompts_redacted")
    pairs = ("comparisons", "corrections", "demonstrations")
    counts: Counter[str] = Counter(dict.fromkeys((*SECTION.values(), *names, *pairs), 0))
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
