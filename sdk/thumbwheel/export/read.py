"""Rows straight from the service, newest first, a page at a time, with a count of what makes none."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Literal

from msgspec import Struct

from thumbwheel.client import Client
from thumbwheel.export import rows
from thumbwheel.export.rows import LeftOut, Row, Told
from thumbwheel.options import ReadBack
from thumbwheel.types import Comparison, FeedbackRecord, Kind, Source, Turn

What = Literal["preferences", "thumbs", "corrections", "turns"]
AT_ONCE = 50
"""Turns asked for by id in one request."""
_FROM_FEEDBACK: dict[What, tuple[tuple[Kind, ...], Callable[[Told], Row]]] = {
    "preferences": (("comparison", "correction"), rows.preference),
    "thumbs": (("thumb",), rows.thumb),
    "corrections": (("correction", "demonstration"), rows.correction),
}


class Tally(Struct):
    """What became of everything that was read; each piece is counted once."""

    written: int = 0
    left_out: dict[str, int] = {}
    reached_ms: int | None = None
    """How far back the reading has come."""

    def count_out(self, reason: str) -> None:
        """One more that makes no row."""
        self.left_out[reason] = self.left_out.get(reason, 0) + 1


def read_rows(client: Client, what: What, wanted: ReadBack, sources: Sequence[Source], tally: Tally) -> Iterator[Row]:
    """Every row, counted as it is given; `sources` narrows feedback. Raises `ThumbwheelError`."""
    found = _turn_rows(client, wanted) if what == "turns" else _feedback_rows(client, what, wanted, sources)
    for created_ms, made in found:
        tally.reached_ms = created_ms
        if isinstance(made, LeftOut):
            tally.count_out(str(made))
        else:
            tally.written += 1
            yield made


Made = tuple[int, Row | LeftOut]


def _turn_rows(client: Client, wanted: ReadBack) -> Iterator[Made]:
    for turn in client.turns.list(**wanted):
        try:
            yield turn.created_ms, rows.whole_turn(turn)
        except LeftOut as reason:
            yield turn.created_ms, reason


def _feedback_rows(client: Client, what: What, wanted: ReadBack, sources: Sequence[Source]) -> Iterator[Made]:
    kinds, make = _FROM_FEEDBACK[what]
    records = client.feedback.list(kind=kinds, **wanted)
    while batch := list(islice(records, 2 * AT_ONCE)):
        reasons = [_unwanted(record, sources) for record in batch]
        turns = _turns_of(client, [record for record, reason in zip(batch, reasons, strict=True) if reason is None])
        for record, reason in zip(batch, reasons, strict=True):
            try:
                yield record.created_ms, reason or make(_told(record, turns))
            except LeftOut as left_out:
                yield record.created_ms, left_out


def _unwanted(record: FeedbackRecord, sources: Sequence[Source]) -> LeftOut | None:
    if record.retracted:
        return LeftOut("retracted")
    if record.feedback.source not in sources:
        return LeftOut(f"source {record.feedback.source}")
    return None


def _other_id(record: FeedbackRecord) -> str | None:
    return record.feedback.other_completion_id if isinstance(record.feedback, Comparison) else None


def _turns_of(client: Client, records: Sequence[FeedbackRecord]) -> dict[str, Turn]:
    """The turns that feedback speaks of, by id, in as few requests as ids allow."""
    named = {name: None for record in records for name in (record.completion_id, _other_id(record)) if name}
    waiting = iter(named)
    found: dict[str, Turn] = {}
    while ids := list(islice(waiting, AT_ONCE)):
        found |= {turn.completion_id: turn for turn in client.turns.list(completion_id=ids, page_size=AT_ONCE)}
    return found


def _told(record: FeedbackRecord, turns: dict[str, Turn]) -> Told:
    return Told(record, turns.get(record.completion_id or ""), turns.get(_other_id(record) or ""))
