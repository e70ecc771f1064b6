"""Pages of rows, newest first: a cursor is the moment and id of the last row, so that added rows move no page."""

from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, Table, select, tuple_, union_all

from thumbwheel_service.errors import BadInput

Rows = Select[*tuple[Any, ...]]


class BadCursor(BadInput):
    """The cursor was not made by an earlier page."""

    code = "invalid_cursor"


class Span(NamedTuple):
    """When a row was made: from `since_ms` on, before `until_ms`."""

    since_ms: int | None = None
    until_ms: int | None = None

    def conditions(self, moment: ColumnElement[int]) -> list[ColumnElement[bool]]:
        """For the column that says when."""
        after = [] if self.since_ms is None else [moment >= self.since_ms]
        return after if self.until_ms is None else [*after, moment < self.until_ms]


def page_of(table: Table, identifier: str, columns: list[Any], cursor: str | None, limit: int) -> Rows:
    """One row more than a page holds, to be narrowed by `where`; raises `BadCursor`."""
    moment, name = table.c.created_ms, table.c[identifier]
    statement = select(*columns)
    if cursor is not None:
        statement = statement.where(tuple_(moment, name) < tuple_(*parse_cursor(cursor)))
    return statement.order_by(moment.desc(), name.desc()).limit(limit + 1)


def merged(pages: list[Rows], identifier: str, limit: int) -> Rows:
    """The newest rows of several pages that share none; each is read off an index by itself, as no `IN` could be."""
    if len(pages) == 1:
        return pages[0]
    rows = union_all(*(select(page.subquery()) for page in pages)).subquery()
    return select(rows).order_by(rows.c.created_ms.desc(), rows.c[identifier].desc()).limit(limit + 1)


def to_cursor(created_ms: int, identifier: str) -> str:
    """The cursor of the page after this row."""
    return f"{created_ms}~{identifier}"


def parse_cursor(cursor: str) -> tuple[int, str]:
    """Moment and id of the last row of the page before; raises `BadCursor`."""
    moment, found, identifier = cursor.partition("~")
    if not found or not moment.isascii() or not moment.isdigit() or len(moment) > 15 or "\0" in identifier:
        raise BadCursor("take the cursor from `next` of the page before", field="cursor")
    return int(moment), identifier
