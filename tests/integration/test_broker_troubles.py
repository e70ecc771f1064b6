"""From the API through a slow Kafka, or one whose partitions change leaders, to the learner: all of it, once."""

import asyncio
import itertools
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine
from sqlmodel import select
from tests.brokers import MockBroker
from tests.databases import learner_store
from tests.kafka_sockets import sockets_collected
from tests.serving import alive, client, idle_app

from thumbwheel.bus.kafka import KafkaBus
from thumbwheel.events import FEEDBACK
from thumbwheel_learner.consume import Consumer
from thumbwheel_learner.store.session import reading
from thumbwheel_learner.store.tables import DeadLetterRow, FeedbackRow

pytestmark = [pytest.mark.kafka, pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")]
PREFIX = "troubles."
BROKERS = 3
PEOPLE = 8


@pytest.fixture
def broker() -> Iterator[MockBroker]:
    broker = MockBroker(BROKERS)
    broker.create_topics(PREFIX)
    yield broker
    broker.close()


@pytest.fixture(autouse=True)
def forgotten_sockets(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with sockets_collected(caplog):
        yield


@contextmanager
def learning(broker: MockBroker, folder: Path) -> Iterator[Engine]:
    """The learner's store, filled from Kafka meanwhile."""
    stop = threading.Event()
    with (
        learner_store(folder / "learner.db") as engine,
        KafkaBus(broker.bootstrap, options=broker.options, topic_prefix=PREFIX) as bus,
    ):
        thread = threading.Thread(target=Consumer(engine, bus, max_backoff_s=0.5).run, args=(stop,))
        thread.start()
        try:
            yield engine
        finally:
            stop.set()
            thread.join()


class Voters:
    """People who vote and change their minds; what they were told yes to is in the books."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.revisions: dict[str, int] = {}

    async def vote(self, person: int, stop: asyncio.Event) -> None:
        for n in itertools.count():
            if stop.is_set():
                return
            thumb = {"kind": "thumb", "completion_id": "c1", "user": f"user-{person}-{n // 3}", "value": "up"}
            answer = await self.http.post("/v1/feedback", json=thumb | {"comment": str(n)})
            assert answer.is_success, answer.text
            record = answer.json()
            self.revisions[record["feedback_id"]] = record["revision"]
            await asyncio.sleep(0.01)


def stored(engine: Engine) -> dict[str, int]:
    with reading(engine) as session:
        assert session.exec(select(DeadLetterRow)).all() == []
        return {row.feedback_id: row.revision for row in session.exec(select(FeedbackRow))}


def slowly(broker: MockBroker, _: int) -> None:
    broker.slow(400)


def under_other_leaders(broker: MockBroker, step: int) -> None:
    for partition in range(FEEDBACK.partitions):
        broker.lead(PREFIX + FEEDBACK.name, partition, 1 + (step + partition) % BROKERS)


@pytest.mark.parametrize("trouble", [slowly, under_other_leaders])
async def test_every_vote_reaches_the_learner_once(
    trouble: Callable[[MockBroker, int], None], broker: MockBroker, tmp_path: Path
) -> None:
    settings = {"bus": "kafka", "kafka_bootstrap": broker.bootstrap, "replica": uuid.uuid4().hex}
    options = broker.options | {"topic_prefix": PREFIX}
    app = idle_app(tmp_path, kafka_options=options, **settings)
    with learning(broker, tmp_path) as engine:
        async with alive(app), client(app) as http:
            turn = {"messages": [{"role": "user", "content": "x"}], "answers": ["A"], "completion_id": "c1"}
            assert (await http.post("/v1/turns", json=turn)).status_code == 201
            voters, stop = Voters(http), asyncio.Event()
            async with asyncio.TaskGroup() as group:
                for person in range(PEOPLE):
                    group.create_task(voters.vote(person, stop))
                for step in range(8):
                    await asyncio.sleep(0.5)
                    trouble(broker, step)
                stop.set()
            assert len(voters.revisions) > 10 * PEOPLE
            await arrived(engine, voters.revisions)


async def arrived(engine: Engine, told: dict[str, int], seconds: float = 90.0) -> None:
    """The store is what the voters were told."""
    async with asyncio.timeout(seconds):
        while (found := await asyncio.to_thread(stored, engine)) != told:
            assert found.keys() <= told.keys()
            await asyncio.sleep(0.5)
