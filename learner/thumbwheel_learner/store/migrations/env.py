"""Alembic's entry point; the connection is handed in by `store.session.migrate`."""

from alembic import context

from thumbwheel_learner.store.session import VERSION_TABLE
from thumbwheel_learner.store.tables import LearnerTable

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=LearnerTable.metadata,
    version_table=VERSION_TABLE,
    render_as_batch=connection.dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()
