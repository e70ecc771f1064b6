"""Two service processes on one PostgreSQL and one Kafka: they share the work, and one of them dies."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest
from sqlalchemy import select
from sqlmodel import Session
from tests.adapters import published, write_adapter, write_artifact, write_base
from tests.benchmarks.feedback_race import race, settled
from tests.brokers import Broker, find_broker
from tests.databases import postgres_url
from tests.ledger import Ledger
from tests.service_process import ServiceProcess

from thumbwheel import internal
from thumbwheel.artifact import base_fingerprint, signing_key
from thumbwheel.bus import Record
from thumbwheel.bus.kafka import KafkaBus
from thumbwheel.events import FEEDBACK, TURNS, decode, encode, topic_and_key, wrap
from thumbwheel_service.db.engine import connect
from thumbwheel_service.db.tables import LogRow, RelayRow

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]
LEASE_SECONDS = 3.0
RACES = 200


class Pair(NamedTuple):
    left: ServiceProcess
    right: ServiceProcess
    broker: Broker
    prefix: str
    database_url: str
    folder: Path

    def look(self, statement: object) -> list[tuple[object, ...]]:
        database = connect(self.database_url)
        with Session(database) as session:
            rows = [tuple(row) for row in session.execute(statement)]  # type: ignore[call-overload]
        database.dispose()
        return rows

    def carriers(self) -> set[str]:
        """Replicas that hold leases."""
        return {str(owner).partition("/")[0] for (owner,) in self.look(select(RelayRow.owner)) if owner}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder, url = tmp_path_factory.mktemp("pair"), postgres_url()
    prefix = f"pair-{uuid.uuid4().hex[:8]}."
    with contextlib.closing(find_broker(tmp_path_factory.mktemp("kafka"))) as broker:
        if not broker.has_admin:
            broker.create_topics(prefix)
        settings = {
            "database_url": url,
            "model": str(write_base(folder / "base")),
            "kafka_bootstrap": broker.bootstrap,
            "kafka_topic_prefix": prefix,
            "lease_seconds": str(LEASE_SECONDS),
            **{f"kafka_{name}": ".".join(map(str, value)) for name, value in broker.options.items()},
        }
        left, right = (ServiceProcess(folder / "state", replica=name, **settings) for name in ("left", "right"))
        try:
            left.start()
            left.wait_ready()
            right.start()
            right.wait_ready()
            yield Pair(left, right, broker, prefix, url, folder)
        finally:
            left.stop()
            right.stop()


@pytest.fixture
async def https(pair: Pair) -> AsyncIterator[list[httpx.AsyncClient]]:
    async with (
        httpx.AsyncClient(base_url=pair.left.url, timeout=60.0) as left,
        httpx.AsyncClient(base_url=pair.right.url, timeout=60.0) as right,
    ):
        yield [left, right]


def on_kafka(pair: Pair, topic: str, wanted: set[str], seconds: float = 60.0) -> list[Record]:
    """Everything on a topic, once all wanted event ids are there."""
    found: list[Record] = []
    with KafkaBus(pair.broker.bootstrap, options=pair.broker.options, topic_prefix=pair.prefix) as bus:
        consumer = bus.consumer([topic], group=None, start=lambda _: 0)
        deadline = time.monotonic() + seconds
        while not wanted <= {decode(record.value).event_id for record in found}:
            assert time.monotonic() < deadline, "not all of it reached Kafka"
            found += consumer.poll(0.5)
        consumer.close()
    return found


async def test_feedback_in_the_moment_of_the_last_token_is_taken_by_the_other_process(
    pair: Pair, https: list[httpx.AsyncClient]
) -> None:
    answers = await race(https[0], https[1], RACES)
    assert [answer.status for answer in answers] == [201] * RACES
    found = await settled(pair.database_url, RACES)
    assert (found["events"], found["events_with_their_answer"]) == (RACES, RACES)
    assert (found["events_twice"], found["events_missing"], found["turns"]) == (0, 0, {"complete": RACES})


async def test_both_follow_one_route(pair: Pair, https: list[httpx.AsyncClient]) -> None:
    key, store, base = (
        (pair.left.data / "admin.key").read_text().strip(),
        pair.left.data / "artifacts",
        pair.folder / "base",
    )
    admin = {"authorization": f"Bearer {key}"}
    signed = signing_key(pair.left.data / "signing.key")
    adapter = write_adapter(pair.folder / "adapter")
    write_artifact(store, "v1", adapter, signed, version="v1", base_model=base_fingerprint(base))
    event = published(store, "v1")
    topic, partition_key = topic_and_key(event)
    body = internal.LogAppend([internal.LogEntry(topic.name, partition_key, "test/v1", encode(wrap(event)))])
    sent = await https[0].post(
        "/internal/log",
        content=msgspec.msgpack.encode(body),
        headers={**admin, "content-type": internal.MSGPACK},
    )
    assert sent.status_code == 200
    await both_answer_as(https, "v1")
    back = await https[1].post("/v1/policies/rollback", json={}, headers=admin)
    assert back.status_code == 200
    await both_answer_as(https, "base")
    listed = [(await http.get("/v1/policies", headers=admin)).json() for http in https]
    assert listed[0] == listed[1]
    assert [(p["live"], p["epoch"]) for p in listed] == [("base", 2)] * 2


async def both_answer_as(https: list[httpx.AsyncClient], version: str, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    for http in https:
        while True:
            chat = await http.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "Hello"}]})
            if chat.json()["thumbwheel"]["policy_version"] == version:
                break
            assert time.monotonic() < deadline, f"{http.base_url} does not answer as {version}"
            await asyncio.sleep(0.1)


async def test_one_dies_and_the_other_carries_on_in_order(pair: Pair, https: list[httpx.AsyncClient]) -> None:
    ledger = Ledger()
    (carrier,) = pair.carriers()
    dying, other = (pair.left, "right") if carrier == "left" else (pair.right, "left")
    async with ledger.crowd(https, 4), ledger.crowd(https[::-1], 4):
        await ledger.grows(30)
        dying.kill()
        killed = time.monotonic()
        while pair.carriers() != {other}:
            assert time.monotonic() - killed < 3 * LEASE_SECONDS, "nobody takes the leases over"
            await asyncio.sleep(0.1)
        await ledger.grows(30)
        dying.start()
        await asyncio.to_thread(dying.wait_ready)
        await ledger.grows(30)
    for completion_id in ledger.chats:
        turn = await ended(https[0], completion_id)
        assert turn["status"] in ("complete", "lost"), turn
        assert len(turn.get("feedback", [])) == (completion_id in ledger.votes)
    voted = {f"{feedback_id}/1" for feedback_id in ledger.votes.values()}
    for topic, wanted in ((FEEDBACK.name, voted), (TURNS.name, set[str]())):
        log = pair.look(
            select(LogRow.partition, LogRow.event_id)
            .where(LogRow.topic == topic)
            .order_by(LogRow.partition, LogRow.offset)
        )
        ids = {str(event_id) for _, event_id in log}
        assert wanted <= ids
        records = await asyncio.to_thread(on_kafka, pair, topic, ids)
        first = dict.fromkeys((r.partition, decode(r.value).event_id) for r in sorted(records, key=lambda r: r.offset))
        assert sorted(first, key=lambda at: at[0]) == log, "every event, and first deliveries in the log's order"


async def ended(http: httpx.AsyncClient, completion_id: str, seconds: float = 10.0) -> dict[str, Any]:
    """A turn that is not open any more: the last ones may still be on their way to the disk."""
    deadline = time.monotonic() + seconds
    while True:
        turn = (await http.get(f"/v1/turns/{completion_id}")).json()
        if turn["status"] != "open" or time.monotonic() > deadline:
            return turn
        await asyncio.sleep(0.1)
