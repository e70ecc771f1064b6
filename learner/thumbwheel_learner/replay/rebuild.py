"""A store filled from the bus alone, in a database of its own; killed, it goes on where it was."""

import time
from collections.abc import Callable
from typing import NamedTuple

from sqlalchemy import Engine
from sqlmodel import select

from thumbwheel.bus import BusUnavailable, EventBus, TopicPartition
from thumbwheel_learner.consume import Consumer, Trouble
from thumbwheel_learner.errors import LearnerError
from thumbwheel_learner.replay.bounds import BoundedBus, Offsets
from thumbwheel_learner.store.ingest import stored_offsets
from thumbwheel_learner.store.session import has_current_schema, migrate, reading
from thumbwheel_learner.store.tables import RunRow, VersionRow

_POLL_S = 0.5
_RETRY_S = 1.0


class ReplayStopped(LearnerError):
    """The rebuild cannot go on, or must not begin; what it has is kept."""


class Progress(NamedTuple):
    """How far a rebuild has come, in offsets."""

    done: int
    total: int
    waiting: str = ""
    """Why it does not get on just now."""


Watcher = Callable[[Progress], None]


def prepare(engine: Engine, *, fresh: bool) -> bool:
    """Make the tables of a rebuild; True when it goes on with an earlier one. `fresh` empties that first.

    Raises `ReplayStopped` when the database is some learner's own.
    """
    current = has_current_schema(engine)
    if current is not None and _has_learned(engine):
        raise ReplayStopped("that database is a learner's own store: it has training runs; name another one")
    if current is False and not fresh:
        raise ReplayStopped("that rebuild was begun by another version; begin anew with --fresh")
    if current is not None and fresh:
        migrate(engine, "base")
    migrate(engine)
    return bool(current) and not fresh


def offsets_of(engine: Engine) -> dict[TopicPartition, int]:
    """How far a store has read."""
    with reading(engine) as session:
        return stored_offsets(session)


def read_up_to(
    engine: Engine, bus: EventBus, limits: Offsets, watch: Watcher = lambda _: None, *, patience_s: float = 60.0
) -> None:
    """Store everything below `limits`. Raises `BusUnavailable` once the bus has been away for `patience_s`.

    Raises `ReplayStopped` at an event that this version does not understand, and `OffsetOutOfRange`.
    """
    consumer = Consumer(engine, BoundedBus(bus, limits), group=None, on_trouble=_stop)
    total, silent_since = sum(limits.values()), 0.0
    try:
        while True:
            try:
                consumer.step(_POLL_S)
                reached = consumer.reached()
                silent_since = 0.0
            except BusUnavailable as error:
                consumer.close()
                silent_since = silent_since or time.monotonic()
                if time.monotonic() - silent_since >= patience_s:
                    raise
                watch(Progress(_sum(offsets_of(engine), limits), total, str(error)))
                time.sleep(min(_RETRY_S, patience_s))
                continue
            watch(Progress(_sum(reached, limits), total))
            if all(reached.get(at, 0) >= limit for at, limit in limits.items()):
                return
    finally:
        consumer.close()


def _sum(reached: Offsets, limits: Offsets) -> int:
    return sum(min(reached.get(at, 0), limit) for at, limit in limits.items())


def _stop(trouble: Trouble | None) -> None:
    if trouble is not None:
        raise ReplayStopped(f"{trouble.kind}: {trouble.detail}")


def _has_learned(engine: Engine) -> bool:
    with reading(engine) as session:
        return any(
            session.exec(select(key).limit(1)).first() is not None for key in (RunRow.run_id, VersionRow.version)
        )
