"""Snapshot files: examples line by line, each with its digest, and sealed under the keys of everybody it concerns.

The hash covers sections, event ids and digests. The digest of a sealed example is that of its box, so that a snapshot
verifies without any key, and still does when somebody in it has been erased; their examples then read as absent.
"""

import gzip
import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

from thumbwheel import box
from thumbwheel.box import Secrets
from thumbwheel.events import now_ms
from thumbwheel_learner.dataset.derive import Example
from thumbwheel_learner.dataset.examples import Critique, Demo, Judged, LoggedPrompt, Outcome, Pair, Snapshot
from thumbwheel_learner.dataset.keys import KeySource, ask
from thumbwheel_learner.errors import LearnerError
from thumbwheel_learner.files import write_atomically

FOLDER = "snapshots"
SECTION: dict[type[Example], str] = {
    Pair: "pairs",
    Judged: "judged",
    Demo: "demos",
    Critique: "critiques",
    Outcome: "outcomes",
    LoggedPrompt: "prompts",
}
_TYPE = {name: kind for kind, name in SECTION.items()}


class SnapshotDamaged(LearnerError):
    """A snapshot file is missing or does not match its hash; nothing may be trained on it."""


class Sourced(NamedTuple):
    """An example and the keys it has to be sealed under; none for what came unsealed."""

    example: Example
    keys: Secrets


class Frozen(NamedTuple):
    """A snapshot and where it lies; paths are relative to the data directory."""

    snapshot: Snapshot
    file: str
    events_file: str
    """The ids of every event in it, one per line, sorted."""
    events_sha256: str
    erased: int = 0
    """Examples that cannot be read any more."""


class _Header(Struct, frozen=True, kw_only=True):
    hash: str
    created_ms: int
    counts: dict[str, int]
    schema_version: int = 2


_NOTHING = msgspec.Raw(b"")


class _Line(Struct, frozen=True, omit_defaults=True):
    """One example: in clear, or in a box that names its event."""

    section: str
    digest: str
    example: msgspec.Raw = _NOTHING
    event_id: str = ""
    box: bytes = b""

    @property
    def source(self) -> str:
        """The id of the event that it was made of."""
        return self.event_id or msgspec.json.decode(self.example, type=_Named).event_id


class _Named(Struct):
    event_id: str


class _Read(NamedTuple):
    header: _Header
    lines: list[_Line]


def write(data: Path, examples: Sequence[Sourced], counts: Mapping[str, int]) -> Frozen:
    """Put a snapshot on disk, the list of its events first, each whole or absent; one that is there already stays."""
    ordered = sorted(examples, key=lambda sourced: _order(sourced.example))
    lines = [_line(sourced) for sourced in ordered]
    digest = _hash(lines)
    events_file, file = f"{FOLDER}/{digest}.events.txt", f"{FOLDER}/{digest}.jsonl.gz"
    listed = "".join(f"{event_id}\n" for event_id in sorted({line.source for line in lines})).encode()
    try:
        header = _read(data, digest).header
    except SnapshotDamaged:
        header = _Header(hash=digest, created_ms=now_ms(), counts=dict(counts))
        packed = io.BytesIO()
        with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=6, mtime=0) as out:
            for item in (header, *lines):
                out.write(msgspec.json.encode(item) + b"\n")
        write_atomically(data / file, packed.getvalue())
    write_atomically(data / events_file, listed)
    snapshot = _snapshot(header, [sourced.example for sourced in ordered])
    return Frozen(snapshot, file, events_file, hashlib.sha256(listed).hexdigest())


def load(data: Path, digest: str, keys: KeySource) -> Frozen:
    """Read a snapshot back; raises `SnapshotDamaged`, `KeysAway`."""
    header, lines = _read(data, digest)
    events_file = f"{FOLDER}/{digest}.events.txt"
    try:
        listed = hashlib.sha256((data / events_file).read_bytes()).hexdigest()
    except FileNotFoundError as error:
        raise SnapshotDamaged(f"snapshot {digest}: the list of its events is missing") from error
    wanted = {key_id for line in lines if line.box for key_id in box.key_ids(line.box)}
    secrets = ask(keys, wanted)
    examples = [example for line in lines if (example := _opened(line, secrets, digest)) is not None]
    erased = len(lines) - len(examples)
    return Frozen(_snapshot(header, examples), f"{FOLDER}/{digest}.jsonl.gz", events_file, listed, erased)


def keys_of_examples(data: Path, digest: str) -> list[frozenset[str]]:
    """The ids of the keys that each example is sealed under; raises `SnapshotDamaged`."""
    return [frozenset(box.key_ids(line.box)) if line.box else frozenset() for line in _read(data, digest).lines]


def keys_by_event(data: Path, digest: str) -> dict[str, frozenset[str]]:
    """The ids of the keys that each event's examples are sealed under; raises `SnapshotDamaged`."""
    found: dict[str, frozenset[str]] = {}
    for line in _read(data, digest).lines:
        held = frozenset(box.key_ids(line.box)) if line.box else frozenset[str]()
        found[line.source] = found.get(line.source, frozenset()) | held
    return found


def _read(data: Path, digest: str) -> _Read:
    """Header and lines, each line against its digest and all of them against the hash; needs no keys."""
    path = data / FOLDER / f"{digest}.jsonl.gz"
    try:
        with gzip.open(path, "rb") as file:
            header = msgspec.json.decode(file.readline(), type=_Header)
            lines = [msgspec.json.decode(line, type=_Line) for line in file]
        for line in lines:
            if line.digest != hashlib.sha256(line.box or line.example).hexdigest():
                raise SnapshotDamaged(f"snapshot {digest}: the example of event {line.source} was changed")
        whole = _hash(lines)
    except FileNotFoundError as error:
        raise SnapshotDamaged(f"snapshot {digest} is missing") from error
    except (OSError, EOFError, ValueError) as error:
        raise SnapshotDamaged(f"snapshot {digest} does not read: {error}") from error
    if header.hash != digest or whole != digest:
        raise SnapshotDamaged(f"snapshot {digest} does not match its hash")
    return _Read(header, lines)


def _opened(line: _Line, secrets: Secrets, digest: str) -> Example | None:
    """The example; None when somebody it concerns was erased."""
    try:
        content = box.unseal(line.box, secrets, _name(line.section, line.event_id)) if line.box else line.example
        return msgspec.json.decode(content, type=_TYPE[line.section])
    except box.Erased:
        return None
    except (box.BoxDamaged, KeyError, ValueError) as error:
        raise SnapshotDamaged(f"snapshot {digest} does not read: {error}") from error


def _line(sourced: Sourced) -> _Line:
    example, keys = sourced
    section = SECTION[type(example)]
    content = msgspec.json.encode(example, order="sorted")
    if not keys:
        return _Line(section, hashlib.sha256(content).hexdigest(), msgspec.Raw(content))
    sealed = box.seal(content, keys, _name(section, example.event_id))
    return _Line(section, hashlib.sha256(sealed).hexdigest(), event_id=example.event_id, box=sealed)


def _name(section: str, event_id: str) -> str:
    return f"snapshot/{section}/{event_id}"


def _order(example: Example) -> tuple[str, int, str]:
    return SECTION[type(example)], example.created_ms, example.event_id


def _hash(lines: Sequence[_Line]) -> str:
    whole = hashlib.sha256()
    for line in lines:
        whole.update(f"{line.section}\t{line.source}\t{line.digest}\n".encode())
    return whole.hexdigest()


def _snapshot(header: _Header, examples: Sequence[Example]) -> Snapshot:
    return Snapshot(
        hash=header.hash,
        created_ms=header.created_ms,
        pairs=[e for e in examples if isinstance(e, Pair)],
        judged=[e for e in examples if isinstance(e, Judged)],
        demos=[e for e in examples if isinstance(e, Demo)],
        critiques=[e for e in examples if isinstance(e, Critique)],
        outcomes=[e for e in examples if isinstance(e, Outcome)],
        prompts=[e for e in examples if isinstance(e, LoggedPrompt)],
        counts=dict(header.counts),
    )
