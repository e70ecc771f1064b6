"""Which service process something belongs to, and what its replica's earlier lives have left."""

from typing import NamedTuple

from sqlalchemy import ColumnElement


class Owner(NamedTuple):
    """A service process; `<replica>/<boot>` in the database."""

    replica: str
    """Stable over restarts."""
    boot: str
    """Another one with every start."""

    def __str__(self) -> str:
        return f"{self.replica}/{self.boot}"

    def is_in(self, column: ColumnElement[str | None]) -> ColumnElement[bool]:
        """Rows of this process."""
        return column == str(self)

    def replica_is_in(self, column: ColumnElement[str | None]) -> ColumnElement[bool]:
        """Rows of this replica, of this life and of those before."""
        return column.startswith(f"{self.replica}/", autoescape=True)
