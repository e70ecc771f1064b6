"""Many rows into one table with nothing between them and the driver: the hot path of every group of writes."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Table
from sqlalchemy.engine import Connection, Dialect

_MARKS = {"sqlite": "?", "postgresql": "%s"}
"""How the drivers (sqlite3, psycopg) mark a value."""


class Insert:
    """An `INSERT` whose values come as tuples, in the order of `columns`, as the driver takes them."""

    def __init__(self, table: Table, columns: Sequence[str]) -> None:
        """`columns`: of the table; those left out get what the database gives them."""
        self._table = table
        self._columns = [table.c[name].name for name in columns]
        self._texts: dict[str, str] = {}

    def __call__(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert all of the rows; none is fine."""
        if rows:
            connection.exec_driver_sql(self._text(connection.dialect), list(rows))

    def _text(self, dialect: Dialect) -> str:
        text = self._texts.get(dialect.name)
        if text is None:
            quoted = [dialect.identifier_preparer.quote(name) for name in self._columns]
            marks = ", ".join([_MARKS[dialect.name]] * len(quoted))
            text = f"INSERT INTO {self._table.name} ({', '.join(quoted)}) VALUES ({marks})"
            self._texts[dialect.name] = text
        return text
