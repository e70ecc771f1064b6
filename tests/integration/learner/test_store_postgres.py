"""The learner's store on a real PostgreSQL: the same tables, the same result of whatever order events arrive in."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect
from tests.databases import learner_store, postgres_url
from tests.learner_events import feedback, turn
from tests.learner_fakes import MemoryBus
from tests.learner_stages import Script, fill, runner
from tests.unit.learner.test_consume_replay import contents, crash_once, drain
from tests.unit.learner.test_store_migrations import letters_outlive_0002, verdicts_come_with_0005

from thumbwheel.bus import TopicPartition
from thumbwheel.events import FEEDBACK, Envelope, PersonErased, encode, wrap
from thumbwheel.types import Thumb
from thumbwheel_learner.announce import Announcer
from thumbwheel_learner.consume import Consumer
from thumbwheel_learner.dataset.freeze import freeze
from thumbwheel_learner.dataset.keys import NoKeys
from thumbwheel_learner.store import erasures
from thumbwheel_learner.store.ingest import OffsetMoved, move_offset
from thumbwheel_learner.store.runs import label_counts, unfinished_runs
from thumbwheel_learner.store.session import VERSION_TABLE, connect, migrate, reading, writing
from thumbwheel_learner.store.tables import DeadLetterRow, LearnerTable
from thumbwheel_learner.store.verdicts import Kept, keep_verdict, verdicts_of

pytestmark = pytest.mark.postgres


@pytest.fixture
def postgres() -> Iterator[Engine]:
    with learner_store(postgres_url()) as engine:
        yield engine


def history() -> list[Envelope]:
    """Revisions, retractions and repeats, in a random but fixed order."""
    made = [wrap(turn(n, status=status), event_id=f"t{n}{status}") for n in range(5) for status in ("lost", "complete")]
    for n in range(5):
        for revision in range(1, 4):
            thumb = Thumb(completion_id=f"c-{n}", value="down" if revision % 2 else "up")
            event = feedback(n, thumb, revision=revision, retracted=revision == 3 and n == 0)
            made.append(wrap(event, event_id=f"f{n}-{revision}"))
    made += made[::3]
    random.Random(5).shuffle(made)
    return made


def test_migrations_make_exactly_the_declared_tables_and_take_them_away_again(postgres: Engine) -> None:
    with postgres.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, LearnerTable.metadata) == []
    migrate(postgres, "base")
    assert set(inspect(postgres).get_table_names()) <= {VERSION_TABLE}
    letters_outlive_0002(postgres)
    verdicts_come_with_0005(postgres)


def test_crashes_and_disorder_give_the_store_and_the_snapshot_of_a_straight_run_on_sqlite(
    postgres: Engine, tmp_path: Path
) -> None:
    straight = connect(f"sqlite:///{tmp_path / 'learner.db'}")
    migrate(straight)
    bus, once = MemoryBus(batch=4), MemoryBus()
    for envelope in history():
        bus.publish(envelope)
    for envelope in sorted({e.event_id: e for e in history()}.values(), key=lambda e: e.event_id):
        once.publish(envelope)
    for before_commit in (True, False, True, False):
        crash_once(postgres, bus, before_commit=before_commit)
    drain(Consumer(postgres, bus), bus)
    drain(Consumer(straight, once), once)
    assert contents(postgres) == contents(straight)
    assert (
        freeze(postgres, tmp_path / "p", NoKeys()).snapshot.hash
        == freeze(straight, tmp_path / "s", NoKeys()).snapshot.hash
    )
    straight.dispose()


def test_an_offset_moves_only_from_where_it_is(postgres: Engine) -> None:
    partition = TopicPartition(FEEDBACK.name, 0)
    with writing(postgres) as session:
        move_offset(session, partition, expected=0, reached=5)
    with pytest.raises(OffsetMoved), writing(postgres) as session:
        move_offset(session, partition, expected=4, reached=6)


def test_a_text_that_the_database_cannot_hold_is_dead_lettered_alone(postgres: Engine) -> None:
    bus = MemoryBus()
    partition = TopicPartition(FEEDBACK.name, 0)
    bus.append_raw(partition, "a", encode(wrap(feedback(1, turn_status="complete", created_ms=2**70))))
    bus.append_raw(partition, "b", encode(wrap(feedback(2))))
    consumer = Consumer(postgres, bus)
    while consumer.step(0.0):
        pass
    announcer = Announcer(postgres, bus)
    assert [announcer.announce() for _ in range(2)] == [1, 0]
    with reading(postgres) as session:
        from sqlmodel import select

        [letter] = session.exec(select(DeadLetterRow)).all()
    assert letter.offset == 0
    assert label_counts(postgres) == (1, 1)


def test_verdicts_on_the_words_of_the_erased_go(postgres: Engine) -> None:
    ann, bob = "a" * 32, "b" * 32
    said: dict[str, Any] = {"labeler": "m", "principle": "p", "reason": "because", "event_ids": ["e"], "run_id": "r"}
    keys = {ann: b"k" * 32, bob: b"l" * 32}
    assert keep_verdict(postgres, "both", Kept(0.75, True), keys=keys, **said)
    assert keep_verdict(postgres, "bobs", Kept(0.75, True), keys={bob: keys[bob]}, **said)
    with writing(postgres) as session:
        erasures.remember(session, [("", PersonErased(erasure_id="er", keys=[ann], created_ms=1))])
    assert set(verdicts_of(postgres, "m", "p")) == {"bobs"}
    assert not keep_verdict(postgres, "late", Kept(0.75, True), keys=keys, **said)
    assert set(verdicts_of(postgres, "m", "p")) == {"bobs"}


def test_a_run_is_kept_in_it(postgres: Engine, tmp_path: Path) -> None:
    fill(postgres)
    row = runner(postgres, tmp_path, Script(tmp_path / "journal")).start(trigger="now", stages=("sft",))
    assert row.state == "published"
    assert unfinished_runs(postgres) == []
    assert label_counts(postgres) == (6, 0)
