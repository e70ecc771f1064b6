"""Stores in trouble and stores rebuilt, for the tests of replay on either database and either bus."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, delete, update
from tests.learner_events import feedback, turn

from thumbwheel.bus import EventBus
from thumbwheel.events import Envelope, PolicyRouted, wrap
from thumbwheel.types import Thumb
from thumbwheel_learner.consume import Consumer
from thumbwheel_learner.replay.bounds import span_of
from thumbwheel_learner.replay.check import check
from thumbwheel_learner.replay.compare import Comparison
from thumbwheel_learner.store.session import writing
from thumbwheel_learner.store.tables import FeedbackRow, TurnRow


def history(turns: int = 6) -> list[Envelope]:
    """Turns, revisions and retractions of feedback, and routes."""
    made: list[Envelope] = []
    for n in range(turns):
        made.append(wrap(turn(n), event_id=f"t-{n}"))
        for revision in range(1, 2 + n % 3):
            thumb = Thumb(completion_id=f"c-{n}", value="up" if revision % 2 else "down")
            made.append(
                wrap(feedback(n, thumb, revision=revision, retracted=revision == 3), event_id=f"f-{n}-{revision}")
            )
        routed = PolicyRouted(version=f"v{n}", previous="base", epoch=n, reason="", seconds=0.0, created_ms=n)
        made.append(wrap(routed, event_id=f"r-{n}"))
    return made


def catch_up(engine: Engine, bus: EventBus) -> None:
    """Read to the end of the bus, as a learner does."""
    consumer, ends = Consumer(engine, bus), span_of(bus).ends
    for _ in range(500):
        consumer.step(0.0)
        reached = consumer.reached()
        if all(reached[at] >= end for at, end in ends.items()):
            return consumer.close()
    raise AssertionError("the consumer does not get to the end of the bus")


def checked(store: Engine, rebuilt: Engine, bus: EventBus) -> Comparison:
    return check(store, rebuilt, bus, lambda progress: None)


def _write(statement: Any) -> Callable[[Engine], None]:
    def damage(engine: Engine) -> None:
        with writing(engine) as session:
            assert session.connection().execute(statement).rowcount == 1

    return damage


DAMAGES: dict[tuple[str, str], Callable[[Engine], None]] = {
    ("turns", "missing"): _write(delete(TurnRow).where(TurnRow.completion_id == "c-2")),
    ("turns", "altered"): _write(update(TurnRow).where(TurnRow.completion_id == "c-2").values(body=b"{}")),
    ("turns", "older"): _write(update(TurnRow).where(TurnRow.completion_id == "c-2").values(rank=1, event_id="a")),
    ("feedback", "missing"): _write(delete(FeedbackRow).where(FeedbackRow.feedback_id == "fb-2")),
    ("feedback", "altered"): _write(
        update(FeedbackRow).where(FeedbackRow.feedback_id == "fb-2").values(retracted=False)
    ),
    ("feedback", "older"): _write(
        update(FeedbackRow).where(FeedbackRow.feedback_id == "fb-2").values(revision=1, event_id="f-2-1")
    ),
}
"""What can happen to a row, by the table and by what a check calls it. All of it is mended by reading again."""
