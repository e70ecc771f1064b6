"""Inserts that both databases understand."""

from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session

from thumbwheel_learner.store.tables import LearnerTable, table_of


def insert_if_new(session: Session, table: type[LearnerTable], rows: list[dict[str, Any]]) -> None:
    """Insert the rows whose primary key is not there yet."""
    if rows:
        connection = session.connection()
        connection.execute(insert_into(connection.dialect.name, table_of(table)).on_conflict_do_nothing(), rows)


def insert_into(dialect: str, target: Table) -> Any:
    """The dialect's own insert, which can handle conflicts."""
    return (postgresql if dialect == "postgresql" else sqlite).insert(target)
