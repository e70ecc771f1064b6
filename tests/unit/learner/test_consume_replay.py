"""Whatever is delivered twice, late or in pieces, and wherever a crash falls, the store is that of a straight run."""

import functools
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, event
from sqlmodel import select
from tests.learner_events import feedback, turn
from tests.learner_fakes import MemoryBus

from thumbwheel.bus import Record
from thumbwheel.events import Envelope, LearnerCommand, PolicyRouted, wrap
from thumbwheel.types import Thumb
from thumbwheel_learner.consume import Consumer
from thumbwheel_learner.store.session import connect, migrate, reading
from thumbwheel_learner.store.tables import CommandRow, FeedbackRow, PolicyRow, TurnRow


class Crash(BaseException):
    """The process dies here."""


@st.composite
def histories(draw: st.DrawFn) -> list[Envelope]:
    """Events as the service may write them, the same one possibly more than once and in any order."""
    made: list[Envelope] = []
    for n in range(draw(st.integers(1, 6))):
        statuses = draw(st.lists(st.sampled_from(["lost", "cut", "complete"]), max_size=2))
        made += [wrap(turn(n, status=status), event_id=f"t-{n}-{status}") for status in statuses]
        for revision in range(1, draw(st.integers(0, 4)) + 1):
            value = draw(st.sampled_from(["up", "down"]))
            given_ = feedback(
                n, Thumb(completion_id=f"c-{n}", value=value), revision=revision, retracted=draw(st.booleans())
            )
            made.append(wrap(given_, event_id=f"f-{n}-{revision}"))
    for epoch in range(draw(st.integers(0, 3))):
        routed = PolicyRouted(
            version=f"v{epoch}", previous="base", epoch=epoch, reason="", seconds=0.0, created_ms=epoch
        )
        made.append(wrap(routed, event_id=f"r-{epoch}"))
    if draw(st.booleans()):
        made.append(wrap(LearnerCommand(command="now", created_ms=1), event_id="now"))
    extra = draw(st.lists(st.sampled_from(made), max_size=6)) if made else []
    return draw(st.permutations(made + extra))


def contents(engine: Engine) -> list[Any]:
    """Identity of every stored row, whatever the order and time of its arrival."""
    with reading(engine) as session:
        turns = session.exec(select(TurnRow.completion_id, TurnRow.event_id, TurnRow.status))
        given_ = session.exec(select(FeedbackRow.feedback_id, FeedbackRow.event_id, FeedbackRow.digest))
        policies = session.exec(select(PolicyRow.key, PolicyRow.event_id, PolicyRow.rank))
        commands = session.exec(select(CommandRow.event_id, CommandRow.command, CommandRow.stages))
        return [sorted(map(tuple, found)) for found in (turns, given_, policies, commands)]


def fresh_store(folder: str, name: str) -> Engine:
    shutil.copy(empty_store(), Path(folder) / name)
    return connect(f"sqlite:///{Path(folder) / name}")


@functools.cache
def empty_store() -> Path:
    path = Path(tempfile.mkdtemp()) / "empty.db"
    engine = connect(f"sqlite:///{path}")
    migrate(engine)
    engine.dispose()
    return path


def drain(consumer: Consumer, bus: MemoryBus) -> None:
    """Step until everything on the bus is reported as stored."""
    for _ in range(500):
        consumer.step(0.0)
        if all(bus.reported.get(partition) == len(log) for partition, log in bus.logs.items() if log):
            return
    raise AssertionError("the consumer does not get to the end of the bus")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    history=histories(), batch=st.integers(1, 7), crashes=st.lists(st.booleans(), max_size=5), seed=st.integers(0, 99)
)
def test_crashes_redelivery_and_reordering_change_nothing(
    history: list[Envelope], batch: int, crashes: list[bool], seed: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        straight, troubled = fresh_store(folder, "a.db"), fresh_store(folder, "b.db")
        once = MemoryBus()
        for envelope in sorted({e.event_id: e for e in history}.values(), key=lambda e: e.event_id):
            once.publish(envelope)
        drain(Consumer(straight, once), once)

        bus = MemoryBus(batch=batch)
        for envelope in history:
            bus.publish(envelope)
        chance = random.Random(seed)

        def deliver(records: list[Record]) -> list[Record]:
            old = [r for log in bus.logs.values() for r in log[:1]]
            return chance.sample(old, min(len(old), 2)) + records + records[: chance.randrange(3)]

        bus.deliver = deliver
        for before_commit in crashes:
            crash_once(troubled, bus, before_commit=before_commit)
        drain(Consumer(troubled, bus), bus)
        assert contents(troubled) == contents(straight)
        straight.dispose()
        troubled.dispose()


def crash_once(engine: Engine, bus: MemoryBus, *, before_commit: bool) -> None:
    """Consume until the next commit and die just before or just after it."""

    def die(connection: Connection) -> None:
        if connection.get_execution_options().get("writes"):
            raise Crash

    def die_after(_: Any) -> None:
        raise Crash

    consumer = Consumer(engine, bus, on_stored=die_after)
    if before_commit:
        event.listen(engine, "commit", die)
    try:
        drain(consumer, bus)
    except Crash:
        pass
    finally:
        if before_commit:
            event.remove(engine, "commit", die)
