"""Alembic's entry point; the connection, already in its transaction, is handed in by `db.migrate`."""

from alembic import context
from sqlmodel import SQLModel

from thumbwheel_service.db import tables
from thumbwheel_service.db.migrate import VERSION_TABLE

assert tables.LogRow.metadata is SQLModel.metadata
connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=SQLModel.metadata,
    version_table=VERSION_TABLE,
    render_as_batch=connection.dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()
