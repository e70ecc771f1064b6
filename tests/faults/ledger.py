"""The client's own books: what was acknowledged, written down line by line so that a killed run goes on with them."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from thumbwheel.types import FeedbackRecord


@dataclass(frozen=True)
class Entry:
    """The last acknowledged revision of one piece of feedback."""

    feedback_id: str
    kind: str
    revision: int
    retracted: bool
    value: str
    """The feedback itself as canonical JSON."""


class Ledger:
    """Acknowledged feedback by id, and how often what was answered."""

    def __init__(self, file: Path) -> None:
        self.entries: dict[str, Entry] = {}
        self.acknowledged = 0
        self.chats = 0
        self.retries = 0
        self.differing: list[str] = []
        """A request sent twice under one key was answered in two ways."""
        self.refused: list[str] = []
        """Errors that no crash explains."""
        if file.exists():
            for line in file.read_text(encoding="utf-8").splitlines():
                self._keep(Entry(**json.loads(line)))
        self._file = file.open("a", encoding="utf-8")

    def write(self, record: FeedbackRecord) -> None:
        entry = Entry(
            feedback_id=record.feedback_id,
            kind=record.kind,
            revision=record.revision,
            retracted=record.retracted,
            value=canonical(record.feedback),
        )
        self._file.write(json.dumps(asdict(entry)) + "\n")
        self._file.flush()
        self._keep(entry)

    def _keep(self, entry: Entry) -> None:
        self.acknowledged += 1
        known = self.entries.get(entry.feedback_id)
        if known is None or entry.revision >= known.revision:
            self.entries[entry.feedback_id] = entry

    def close(self) -> None:
        self._file.close()


def canonical(feedback: object) -> str:
    return msgspec.json.encode(feedback, order="sorted").decode()
