"""The service with Kafka as its bus: the log is carried there, the learner is heard there, outages cost nothing."""

import asyncio
import contextlib
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import msgspec
import pytest
from tests.brokers import Broker
from tests.kafka_sockets import sockets_collected
from tests.serving import alive, client, idle_app

from thumbwheel.bus import BusUnavailable, NewRecord, Record
from thumbwheel.bus.kafka import KafkaBus
from thumbwheel.events import FEEDBACK, LEARNER, TURNS, LearnerReported, decode, encode, now_ms, wrap
from thumbwheel.types import LearnerStatus, ServiceStatus

pytestmark = pytest.mark.kafka
UP = {"kind": "thumb", "completion_id": "c1", "value": "up"}


@pytest.fixture
def prefix(broker: Broker, caplog: pytest.LogCaptureFixture) -> Iterator[str]:
    prefix = f"service-{uuid.uuid4().hex[:8]}."
    with sockets_collected(caplog):
        if not broker.has_admin:
            broker.create_topics(prefix)
        yield prefix


@pytest.fixture
async def http(broker: Broker, prefix: str, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    options = broker.options | {"topic_prefix": prefix}
    app = idle_app(tmp_path, bus="kafka", kafka_bootstrap=broker.bootstrap, kafka_options=options)
    async with alive(app), client(app) as http:
        turn = {"messages": [{"role": "user", "content": "x"}], "answers": ["A"], "completion_id": "c1"}
        assert (await http.post("/v1/turns", json=turn)).status_code == 201
        yield http


def bus(broker: Broker, prefix: str) -> KafkaBus:
    return KafkaBus(broker.bootstrap, options=broker.options, topic_prefix=prefix)


def read(broker: Broker, prefix: str, topic: str, count: int) -> list[Record]:
    """The first `count` records of a topic, once they are there."""
    found: list[Record] = []
    with bus(broker, prefix) as reader:
        consumer = None
        stop = threading.Event()
        for _ in range(120):
            try:
                consumer = consumer or reader.consumer([topic], group=None, start=lambda at: 0)
                found += consumer.poll(0.5)
            except BusUnavailable:
                stop.wait(0.5)
            if len(found) >= count:
                break
        if consumer is not None:
            consumer.close()
    return found


async def test_what_the_service_says_reaches_kafka_in_order(
    http: httpx.AsyncClient, broker: Broker, prefix: str
) -> None:
    for i in range(20):
        assert (await http.post("/v1/feedback", json=UP | {"comment": str(i)})).status_code < 300
    (turn,) = await asyncio.to_thread(read, broker, prefix, TURNS.name, 1)
    assert decode(turn.value).event.completion_id == "c1"  # pyright: ignore[reportAttributeAccessIssue]
    records = await asyncio.to_thread(read, broker, prefix, FEEDBACK.name, 20)
    revisions = [decode(r.value).event.revision for r in records]  # pyright: ignore[reportAttributeAccessIssue]
    assert revisions == list(range(1, 21))
    assert "thumbwheel_relay_failing 0.0" in (await http.get("/metrics")).text


async def test_the_learner_is_heard_over_kafka(http: httpx.AsyncClient, broker: Broker, prefix: str) -> None:
    status = LearnerStatus(
        state="idle",
        stage=None,
        progress=None,
        run_id=None,
        detail="over kafka",
        labels_total=1,
        labels_new=1,
        updated_ms=now_ms(),
    )
    envelope = wrap(LearnerReported(status=status))

    def report() -> None:
        with bus(broker, prefix) as learner:
            for _ in range(60):
                with contextlib.suppress(BusUnavailable):
                    learner.append([NewRecord(LEARNER.name, "status", envelope.event_id, encode(envelope))])
                    return

    await asyncio.to_thread(report)
    heard = None
    for _ in range(1000):
        heard = msgspec.json.decode((await http.get("/v1/status")).content, type=ServiceStatus)
        if heard.learner is not None:
            break
        await asyncio.sleep(0.02)
    assert heard is not None
    assert heard.learner == status
    assert heard.bus == "kafka"


# kafka-python leaves the sockets that it could not connect to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_an_outage_of_the_broker_costs_no_feedback(http: httpx.AsyncClient, broker: Broker, prefix: str) -> None:
    if not broker.can_fail:
        pytest.skip(f"{broker.name} is not ours to stop")
    assert (await http.post("/v1/feedback", json=UP)).status_code == 201
    assert len(await asyncio.to_thread(read, broker, prefix, FEEDBACK.name, 1)) == 1
    await asyncio.to_thread(broker.stop)
    try:
        for i in range(10):
            assert (await http.post("/v1/feedback", json=UP | {"comment": str(i)})).status_code == 200
        for _ in range(1500):
            if "thumbwheel_relay_failing 1.0" in (await http.get("/metrics")).text:
                break
            await asyncio.sleep(0.02)
        else:
            raise AssertionError("the relay did not notice the outage")
    finally:
        await asyncio.to_thread(broker.start)
    records = await asyncio.to_thread(read, broker, prefix, FEEDBACK.name, 11)
    seen = [decode(r.value).event.revision for r in records]  # pyright: ignore[reportAttributeAccessIssue]
    assert sorted(set(seen)) == list(range(1, 12))
    assert list(dict.fromkeys(seen)) == sorted(set(seen)), "first deliveries are in order"
