"""The migrations make what the tables say, and can be taken back, on both databases."""

import threading

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect, text
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


def test_versions_from_before_they_were_counted_are_counted_by_their_time(empty_database: Engine) -> None:
    migrate(empty_database, "0007")
    with empty_database.begin() as connection:
        for version, created_ms in (("v9-a", 10), ("v10-b", 20), ("v11-c", 20)):
            connection.execute(
                text(
                    "INSERT INTO policy (version, artifact, state, promote, manifest, created_ms, updated_ms)"
                    " VALUES (:version, :version, 'retired', 'auto', '{}', :created_ms, 0)"
                ),
                {"version": version, "created_ms": created_ms},
            )
    migrate(empty_database)
    with empty_database.connect() as connection:
        rows = connection.execute(text("SELECT version, number FROM policy ORDER BY number")).all()
    assert [tuple(row) for row in rows] == [("v9-a", 1), ("v10-b", 2), ("v11-c", 3)]


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
