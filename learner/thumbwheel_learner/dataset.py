"""The store frozen into a hashed snapshot: the only thing a training run reads. The same store gives the same hash."""

import gzip
import hashlib
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct
from sqlalchemy import Engine
from sqlmodel import Session, col, select

from thumbwheel.events import FeedbackRecorded, TurnCompleted, decode, now_ms
from thumbwheel_learner.derive import Example, from_feedback, prompt_of
from thumbwheel_learner.errors import LearnerError
from thumbwheel_learner.examples import Demo, Judged, LoggedPrompt, Pair, Snapshot
from thumbwheel_learner.files import write_atomically
from thumbwheel_learner.store.ingest import insert_if_new
from thumbwheel_learner.store.session import reading, writing
from thumbwheel_learner.store.tables import FeedbackRow, SnapshotRow, TurnRow

FOLDER = "snapshots"
_SECTION: dict[type[Example], str] = {Pair: "pairs", Judged: "judged", Demo: "demos", LoggedPrompt: "prompts"}
_TYPE = {name: kind for kind, name in _SECTION.items()}


class SnapshotDamaged(LearnerError):
    """A snapshot file is missing or does not match its hash; nothing may be trained on it."""


class Frozen(NamedTuple):
    """A snapshot and where it lies; paths are relative to the data directory."""

    snapshot: Snapshot
    file: str
    events_file: str
    """The ids of every event in it, one per line, sorted."""
    events_sha256: str


class _Header(Struct, frozen=True, kw_only=True):
    hash: str
    created_ms: int
    counts: dict[str, int]
    schema_version: int = 1


class _Line(Struct, frozen=True):
    section: str
    digest: str
    example: msgspec.Raw


def freeze(engine: Engine, data: Path, *, max_prompts: int = 50_000) -> Frozen:
    """Build the snapshot of what is stored now and keep it on disk; a snapshot that is there already is reused.

    Retracted feedback and feedback on lost or unfinished turns stay out. Of the prompts the newest `max_prompts` stay.
    """
    with reading(engine) as session:
        examples, excluded = _labels(session)
        examples += _prompts(session, max_prompts)
    examples.sort(key=_order)
    lines = [_line(example) for example in examples]
    snapshot = _snapshot(_hash(lines, examples), now_ms(), _counts(examples) | excluded, examples)
    frozen = _keep(snapshot, lines, data)
    row = {
        "hash": snapshot.hash,
        "file": frozen.file,
        "counts": msgspec.json.encode(snapshot.counts).decode(),
        "created_ms": snapshot.created_ms,
    }
    with writing(engine) as session:
        insert_if_new(session, SnapshotRow, [row])
    return frozen


def load(data: Path, digest: str) -> Snapshot:
    """Read a snapshot back, example by example against its digest; raises `SnapshotDamaged`."""
    path = data / FOLDER / f"{digest}.jsonl.gz"
    try:
        with gzip.open(path, "rb") as file:
            header = msgspec.json.decode(file.readline(), type=_Header)
            lines = [msgspec.json.decode(line, type=_Line) for line in file]
        examples = [msgspec.json.decode(line.example, type=_TYPE[line.section]) for line in lines]
    except FileNotFoundError as error:
        raise SnapshotDamaged(f"snapshot {digest} is missing") from error
    except (OSError, EOFError, KeyError, ValueError) as error:
        raise SnapshotDamaged(f"snapshot {digest} does not read: {error}") from error
    for line, example in zip(lines, examples, strict=True):
        if line.digest != _digest(example):
            raise SnapshotDamaged(f"snapshot {digest}: the example of event {example.event_id} was changed")
    if header.hash != digest or _hash(lines, examples) != digest:
        raise SnapshotDamaged(f"snapshot {digest} does not match its hash")
    return _snapshot(digest, header.created_ms, header.counts, examples)


def frozen_at(data: Path, digest: str) -> Frozen:
    """A snapshot that was frozen before, with its files; raises `SnapshotDamaged`."""
    events = f"{FOLDER}/{digest}.events.txt"
    try:
        listed = hashlib.sha256((data / events).read_bytes()).hexdigest()
    except FileNotFoundError as error:
        raise SnapshotDamaged(f"snapshot {digest}: the list of its events is missing") from error
    return Frozen(load(data, digest), f"{FOLDER}/{digest}.jsonl.gz", events, listed)


def _labels(session: Session) -> tuple[list[Example], dict[str, int]]:
    examples: list[Example] = []
    excluded: Counter[str] = Counter(excluded_retracted=0, excluded_lost=0)

    def answer_of(tenant: str, completion_id: str, choice: int) -> str | None:
        body = session.exec(
            select(TurnRow.body).where(TurnRow.tenant == tenant, TurnRow.completion_id == completion_id)
        ).first()
        if body is None:
            return None
        turn = decode(body).event
        choices = turn.choices if isinstance(turn, TurnCompleted) else []
        return next((c.text for c in choices if c.index == choice), None)

    rows = session.exec(select(FeedbackRow.body, FeedbackRow.retracted, FeedbackRow.turn_status))
    for body, retracted, turn_status in rows.all():
        if retracted:
            excluded["excluded_retracted"] += 1
        elif turn_status in ("lost", "open"):
            excluded["excluded_lost"] += 1
        else:
            envelope = decode(body)
            if isinstance(envelope.event, FeedbackRecorded):
                examples += from_feedback(envelope, envelope.event, answer_of)
    return examples, dict(excluded)


def _prompts(session: Session, limit: int) -> list[Example]:
    newest = (
        select(TurnRow.body)
        .where(TurnRow.origin == "chat", TurnRow.status == "complete")
        .order_by(col(TurnRow.created_ms).desc(), col(TurnRow.event_id).desc())
        .limit(limit)
    )
    found: list[Example] = []
    for body in session.exec(newest).all():
        envelope = decode(body)
        prompt = prompt_of(envelope, envelope.event) if isinstance(envelope.event, TurnCompleted) else None
        if prompt is not None:
            found.append(prompt)
    return found


def _order(example: Example) -> tuple[str, int, str]:
    return _SECTION[type(example)], example.created_ms, example.event_id


def _digest(example: Example) -> str:
    return hashlib.sha256(msgspec.json.encode(example, order="sorted")).hexdigest()


def _line(example: Example) -> _Line:
    body = msgspec.json.encode(example, order="sorted")
    return _Line(_SECTION[type(example)], hashlib.sha256(body).hexdigest(), msgspec.Raw(body))


def _hash(lines: Sequence[_Line], examples: Sequence[Example]) -> str:
    """Over digests and event ids, so that it still verifies when a text has been erased."""
    whole = hashlib.sha256()
    for line, example in zip(lines, examples, strict=True):
        whole.update(f"{line.section}\t{example.event_id}\t{line.digest}\n".encode())
    return whole.hexdigest()


def _snapshot(digest: str, created_ms: int, counts: Mapping[str, int], examples: Sequence[Example]) -> Snapshot:
    return Snapshot(
        hash=digest,
        created_ms=created_ms,
        pairs=[e for e in examples if isinstance(e, Pair)],
        judged=[e for e in examples if isinstance(e, Judged)],
        demos=[e for e in examples if isinstance(e, Demo)],
        prompts=[e for e in examples if isinstance(e, LoggedPrompt)],
        counts=dict(counts),
    )


def _counts(examples: Sequence[Example]) -> dict[str, int]:
    names = ("pairs", "judged", "demos", "prompts", "thumbs_up", "thumbs_down", "ratings", "flags")
    counts: Counter[str] = Counter(
        dict.fromkeys((*names, "prompts_redacted", "comparisons", "corrections", "demonstrations"), 0)
    )
    for example in examples:
        counts[_SECTION[type(example)]] += 1
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


def _keep(snapshot: Snapshot, lines: Sequence[_Line], data: Path) -> Frozen:
    """Write the event list, then the snapshot (whole or absent); what is there and intact stays as it is."""
    events_file = f"{FOLDER}/{snapshot.hash}.events.txt"
    examples = (*snapshot.pairs, *snapshot.judged, *snapshot.demos, *snapshot.prompts)
    listed = "".join(f"{event_id}\n" for event_id in sorted({example.event_id for example in examples})).encode()
    try:
        kept = load(data, snapshot.hash)
    except SnapshotDamaged:
        kept = snapshot
        header = _Header(hash=snapshot.hash, created_ms=snapshot.created_ms, counts=snapshot.counts)
        packed = io.BytesIO()
        with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=6, mtime=0) as file:
            for item in (header, *lines):
                file.write(msgspec.json.encode(item) + b"\n")
        write_atomically(data / FOLDER / f"{snapshot.hash}.jsonl.gz", packed.getvalue())
    write_atomically(data / events_file, listed)
    return Frozen(kept, f"{FOLDER}/{snapshot.hash}.jsonl.gz", events_file, hashlib.sha256(listed).hexdigest())
