from pathlib import Path
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect
from sqlmodel import select

from thumbwheel_learner.store.session import VERSION_TABLE, connect, migrate, reading
from thumbwheel_learner.store.tables import DeadLetterRow, LearnerTable
from thumbwheel_learner.store.verdicts import Kept, asked_by, keep_verdict, verdicts_of


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


def test_verdicts_come_and_go_with_their_migration_and_nothing_else_does(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path / 'old.db'}")
    verdicts_come_with_0005(engine)
    engine.dispose()


def verdicts_come_with_0005(engine: Engine) -> None:
    """A verdict is kept under its keys; the way back takes the verdicts alone."""
    migrate(engine, "0004")
    assert "learner_verdict" not in inspect(engine).get_table_names()
    migrate(engine)
    said: dict[str, Any] = {
        "labeler": "m", "principle": "p", "reason": "because", "event_ids": ["e"], "keys": {}, "run_id": "r",
    }  # fmt: skip
    assert keep_verdict(engine, "d", Kept(0.75, True), **said)
    assert keep_verdict(engine, "d", Kept(0.25, True), **said), "said before: the first word stays"
    assert verdicts_of(engine, "m", "p") == {"d": Kept(0.75, True)}
    assert verdicts_of(engine, "m", "q") == verdicts_of(engine, "other", "p") == {}
    assert (asked_by(engine, "r"), asked_by(engine, "other")) == (1, 0)
    migrate(engine, "0004")
    assert "learner_verdict" not in inspect(engine).get_table_names()
    assert "learner_feedback" in inspect(engine).get_table_names()
    migrate(engine)
    assert verdicts_of(engine, "m", "p") == {}


def test_letters_of_before_wait_to_be_announced_and_outlive_the_way_back(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path / 'old.db'}")
    letters_outlive_0002(engine)
    engine.dispose()


def letters_outlive_0002(engine: Engine) -> None:
    """A letter stored before the migration is unannounced after it, and still there when it is taken back."""
    migrate(engine, "0001")
    columns = '(topic, partition, "offset", reason, key, value, created_ms)'
    with engine.begin() as connection:
        insert = f"INSERT INTO learner_dead_letter {columns} VALUES ('t', 0, 7, 'why', '', '', 1)"
        connection.execution_options(writes=True).exec_driver_sql(insert)
    migrate(engine)
    with reading(engine) as session:
        [letter] = session.exec(select(DeadLetterRow)).all()
    assert (letter.offset, letter.announced) == (7, False)
    migrate(engine, "0001")
    assert "announced" not in {column["name"] for column in inspect(engine).get_columns("learner_dead_letter")}
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT reason FROM learner_dead_letter").scalars().all() == ["why"]
    migrate(engine)
