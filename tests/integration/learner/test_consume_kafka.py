"""The learner's consumer on a Kafka cluster: outages and restarts, with the offsets in its own store."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlmodel import select
from tests.brokers import MockBroker, wait_until
from tests.databases import learner_store
from tests.kafka_sockets import sockets_collected
from tests.learner_events import feedback, turn

from thumbwheel.bus import NewRecord
from thumbwheel.bus.kafka import KafkaBus
from thumbwheel.events import Event, encode, topic_and_key, wrap
from thumbwheel_learner.consume import Consumer, Trouble
from thumbwheel_learner.store.session import reading
from thumbwheel_learner.store.tables import FeedbackRow, TurnRow

pytestmark = [
    pytest.mark.kafka,
    # kafka-python leaves the sockets that it could not connect to the garbage collector, whose time is its own.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def broker() -> Iterator[MockBroker]:
    broker = MockBroker()
    broker.create_topics("learner-")
    yield broker
    broker.close()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with learner_store(tmp_path / "learner.db") as engine:
        yield engine


@pytest.fixture(autouse=True)
def forgotten_sockets(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with sockets_collected(caplog):
        yield


def connected(broker: MockBroker) -> KafkaBus:
    return KafkaBus(broker.bootstrap, options=broker.options, topic_prefix="learner-")


def publish(bus: KafkaBus, *events: Event) -> None:
    records: list[NewRecord] = []
    for event in events:
        topic, key = topic_and_key(event)
        envelope = wrap(event)
        records.append(NewRecord(topic.name, key, envelope.event_id, encode(envelope)))
    bus.append(records)


def stored(engine: Engine) -> tuple[int, int]:
    with reading(engine) as session:
        return len(session.exec(select(TurnRow)).all()), len(session.exec(select(FeedbackRow)).all())


class Running:
    """A consumer in its thread, as the learner runs it."""

    def __init__(self, engine: Engine, bus: KafkaBus, on_trouble: Callable[[Trouble | None], None]) -> None:
        self.stop = threading.Event()
        self.consumer = Consumer(engine, bus, on_trouble=on_trouble, max_backoff_s=0.5)
        self.thread = threading.Thread(target=self.consumer.run, args=(self.stop,))
        self.thread.start()

    def end(self) -> None:
        self.stop.set()
        self.thread.join()


def test_outages_and_restarts_of_the_consumer_store_everything_once(engine: Engine, broker: MockBroker) -> None:
    troubles: list[Trouble | None] = []
    with connected(broker) as bus:
        publish(bus, *(event for n in range(20) for event in (turn(n), feedback(n))))
        first = Running(engine, bus, troubles.append)
        try:
            wait_until(lambda: stored(engine) == (20, 20), 60, "the first twenty")
            wait_until(lambda: first.consumer.caught_up_ms > 0, 30, "caught up")
            broker.stop()
            wait_until(lambda: bool(troubles), 60, "the outage is noticed")
            assert troubles[0] is not None
            assert troubles[0].kind == "bus_unavailable"
            broker.start()
            wait_until(lambda: troubles[-1] is None, 60, "reading goes on")
        finally:
            first.end()
        publish(bus, *(event for n in range(10, 30) for event in (turn(n), feedback(n))))
        second = Running(engine, bus, troubles.append)
        try:
            wait_until(lambda: stored(engine) == (30, 30), 60, "the other ten")
        finally:
            second.end()
