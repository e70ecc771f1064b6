from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect

from thumbwheel_learner.store.session import VERSION_TABLE, connect, migrate
from thumbwheel_learner.store.tables import LearnerTable


def test_migrations_make_exactly_the_declared_tables(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, LearnerTable.metadata) == []


def test_downgrade_leaves_no_table_and_upgrade_brings_them_back(engine: Engine) -> None:
    migrate(engine, "base")
    assert set(inspect(engine).get_table_names()) <= {VERSION_TABLE}
    migrate(engine)
    assert set(LearnerTable.metadata.tables) <= set(inspect(engine).get_table_names())


def test_migrating_twice_changes_nothing(engine: Engine) -> None:
    migrate(engine)
    assert "learner_turn" in inspect(engine).get_table_names()


def test_sqlite_commits_are_on_disk_when_they_return(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path / 'other.db'}")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
    engine.dispose()
