"""Two stores side by side, row by row: what a rebuild says is right, and what the store has instead."""

import hashlib
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Struct, field
from sqlalchemy import Column, select
from sqlmodel import Session

from thumbwheel_learner.store.tables import FeedbackRow, LearnerTable, PolicyRow, TurnRow, table_of

EXAMPLES = 10
_OWN = frozenset({"stored_ms"})
"""Columns that tell of the storing and not of the event."""
Kind = Literal["missing", "older", "altered", "newer", "extra"]
MENDABLE: tuple[Kind, ...] = ("missing", "older", "altered")
"""What reading the bus again mends; of what only the store has, the bus says nothing."""


class Comparable(NamedTuple):
    """A table, what identifies a row, and by what its revisions are ordered."""

    name: str
    table: type[LearnerTable]
    keys: tuple[str, ...]
    order: tuple[str, ...]


TABLES = (
    Comparable("turns", TurnRow, ("tenant", "completion_id"), ("rank", "finished_ms", "event_id")),
    Comparable("feedback", FeedbackRow, ("tenant", "feedback_id"), ("revision", "event_id")),
    Comparable("policies", PolicyRow, ("key",), ("rank", "event_id")),
)


class Identity(Struct, frozen=True):
    """One stored row without its content."""

    event_id: str
    revision: int
    digest: str
    """Of everything that the event says."""


class Difference(Struct, frozen=True):
    """A key of which the two stores do not say the same."""

    table: str
    key: tuple[str, ...]
    kind: Kind
    store: Identity | None
    bus: Identity | None


class Comparison(Struct):
    """What came of it."""

    rows: dict[str, int] = field(default_factory=dict[str, int])
    """Rows of the rebuild, by table."""
    unread: int = 0
    """Policies that the store has not read yet, which is no difference."""
    differences: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    """By table and kind."""
    examples: list[Difference] = field(default_factory=list[Difference])
    """The first ones."""

    @property
    def equal(self) -> bool:
        """Whether the store says what the bus says."""
        return not self.differences

    @property
    def mendable(self) -> bool:
        """Whether there is anything that reading again mends."""
        return any(kind in kinds for kinds in self.differences.values() for kind in MENDABLE)


class _Row(NamedTuple):
    key: tuple[str, ...]
    order: tuple[int | str, ...]
    identity: Identity


def compare(store: Session, rebuilt: Session, *, policies_unread: bool = False) -> Comparison:
    """Every turn, piece of feedback and policy by its key; memory stays small however many there are.

    With `policies_unread` the store stands before the end of the policies' topic. Only the last word of each key is
    left there, so that what it lacks of that topic may be what it has not read yet, and is counted apart.
    """
    found = Comparison()
    for comparable in TABLES:
        found.rows[comparable.name] = 0
        for mine, right in _paired(_rows(store, comparable), _rows(rebuilt, comparable)):
            found.rows[comparable.name] += right is not None
            kind = _kind(mine, right)
            if kind in ("missing", "older") and policies_unread and comparable.table is PolicyRow:
                found.unread += 1
            elif kind is not None:
                _note(found, comparable.name, kind, mine, right)
    return found


def _note(found: Comparison, table: str, kind: Kind, mine: _Row | None, right: _Row | None) -> None:
    kinds = found.differences.setdefault(table, {})
    kinds[kind] = kinds.get(kind, 0) + 1
    row = mine or right
    if row is not None and len(found.examples) < EXAMPLES:
        identities = (mine and mine.identity, right and right.identity)
        found.examples.append(Difference(table, row.key, kind, *identities))


def _kind(mine: _Row | None, right: _Row | None) -> Kind | None:
    if mine is None:
        return "missing"
    if right is None:
        return "extra"
    if mine.order != right.order:
        return "older" if mine.order < right.order else "newer"
    return None if mine.identity == right.identity else "altered"


def _rows(session: Session, comparable: Comparable) -> Iterator[_Row]:
    """In the order of their keys by code point, which is the same on both databases."""
    table = table_of(comparable.table)
    columns: list[Column[Any]] = [column for column in table.c if column.name not in _OWN]
    names = [column.name for column in columns]
    postgres = session.connection().dialect.name == "postgresql"
    keys = [table.c[name].collate("C") if postgres else table.c[name] for name in comparable.keys]
    statement = select(*columns).order_by(*keys)
    for values in session.connection().execution_options(yield_per=500).execute(statement):
        row: dict[str, Any] = dict(zip(names, values, strict=True))
        digest = hashlib.sha256(msgspec.msgpack.encode(list(values))).hexdigest()
        identity = Identity(row["event_id"], int(row[comparable.order[0]]), digest)
        yield _Row(
            tuple(row[name] for name in comparable.keys), tuple(row[name] for name in comparable.order), identity
        )


def _paired(left: Iterator[_Row], right: Iterator[_Row]) -> Iterator[tuple[_Row | None, _Row | None]]:
    """Both sides by key; None where a side lacks it."""
    one, other = next(left, None), next(right, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one.key < other.key):
            yield one, None
            one = next(left, None)
        elif one is None or other.key < one.key:
            yield None, other
            other = next(right, None)
        else:
            yield one, other
            one, other = next(left, None), next(right, None)
