"""Statements with nothing between them and the driver: the hot path of every group of writes."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import msgspec
from sqlalchemy import Table
from sqlalchemy.engine import Connection

_json = msgspec.json.Encoder()
ROWS_TOGETHER = 64
"""Rows that one statement inserts, at most."""


class Direct:
    """One statement, with a `?` for each value."""

    def __init__(self, text: str) -> None:
        self._texts = {"sqlite": text, "postgresql": text.replace("?", "%s")}

    def each(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Do it for every row; none is fine."""
        if rows:
            connection.exec_driver_sql(self._texts[connection.dialect.name], list(rows))

    def rows(self, connection: Connection, *values: Any) -> Sequence[Any]:
        """Do it once, and return what it returns: as tuples, of the driver's types."""
        return connection.exec_driver_sql(self._texts[connection.dialect.name], values).fetchall()


class Insert(Direct):
    """Rows as tuples, in the order of `columns`; the others get what the database gives them."""

    def __init__(self, table: Table, columns: Sequence[str]) -> None:
        marks = ", ".join("?" * len(columns))
        super().__init__(f"INSERT INTO {table.fullname} ({_listed(table, columns)}) VALUES ({marks})")
        self._more = f", ({marks})"

    def each(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """All rows, on SQLite many by one statement: its driver gives way to other threads once for each."""
        if connection.dialect.name != "sqlite":
            super().each(connection, rows)
            return
        for first in range(0, len(rows), ROWS_TOGETHER):
            some = rows[first : first + ROWS_TOGETHER]
            text = self._texts["sqlite"] + self._more * (len(some) - 1)
            connection.exec_driver_sql(text, tuple(chain.from_iterable(some)))


class Among:
    """The rows whose `column` is one of many values, and whose `equal` columns are as given."""

    def __init__(self, table: Table, columns: Sequence[str], column: str, *, equal: Sequence[str] = ()) -> None:
        fixed = "".join(f"{_listed(table, [name])} = ? AND " for name in equal)
        text = f"SELECT {_listed(table, columns)} FROM {table.fullname} WHERE {fixed}{_listed(table, [column])}"
        self._sqlite = Direct(f"{text} IN (SELECT value FROM json_each(?))")
        self._postgres = Direct(f"{text} = ANY(?)")

    def __call__(self, connection: Connection, values: Sequence[str], *equal: Any) -> Sequence[Any]:
        """As tuples, in no order."""
        if connection.dialect.name == "sqlite":
            return self._sqlite.rows(connection, *equal, _json.encode(values).decode())
        return self._postgres.rows(connection, *equal, list(values))


def _listed(table: Table, columns: Sequence[str]) -> str:
    return ", ".join(f'"{table.c[name].name}"' for name in columns)
