"""The migrations make what the tables say, and can be taken back, on both databases."""

import threading

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect
from sqlmodel import SQLModel

from thumbwheel_service.db import tables
from thumbwheel_service.db.engine import connect
from thumbwheel_service.db.migrate import VERSION_TABLE, migrate


def test_migrations_and_tables_agree(empty_database: Engine) -> None:
    migrate(empty_database)
    with empty_database.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE, "compare_type": True})
        assert tables.LogRow.metadata is SQLModel.metadata
        assert compare_metadata(context, SQLModel.metadata) == []


def test_migrations_can_be_taken_back_and_made_again(empty_database: Engine) -> None:
    migrate(empty_database)
    migrate(empty_database, "base")
    assert inspect(empty_database).get_table_names() == [VERSION_TABLE]
    migrate(empty_database)
    migrate(empty_database)
    assert set(SQLModel.metadata.tables) <= set(inspect(empty_database).get_table_names())


def test_replicas_that_start_together_migrate_once(empty_database: Engine) -> None:
    url = empty_database.url.render_as_string(hide_password=False)
    failures: list[Exception] = []

    def start() -> None:
        engine = connect(url)
        try:
            migrate(engine)
        except Exception as error:
            failures.append(error)
        finally:
            engine.dispose()

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert "feedback" in inspect(empty_database).get_table_names()
