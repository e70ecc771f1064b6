"""From the API to the learner's snapshots and back: nothing of it is readable on disk, and somebody is forgotten."""

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine
from sqlmodel import select
from tests.brokers import SERVER, Broker, LocalBroker, MockBroker
from tests.databases import learner_store, postgres_url
from tests.service_process import ServiceProcess

from thumbwheel.bus import EventBus
from thumbwheel.bus.connect import connect_bus
from thumbwheel.bus.kafka import KafkaBus
from thumbwheel_learner.consume import Consumer
from thumbwheel_learner.dataset.forget import Forgetter
from thumbwheel_learner.dataset.freeze import freeze
from thumbwheel_learner.dataset.keys import KeysAway, ServiceKeys
from thumbwheel_learner.dataset.snapshots import load
from thumbwheel_learner.replay.check import check
from thumbwheel_learner.rollouts.served import service_http
from thumbwheel_learner.store.session import reading
from thumbwheel_learner.store.tables import FeedbackRow, TurnRow

SECRET = "zanzibar"


class Chain:
    """A service process, and a learner's store that reads what it tells; over Kafka if there is a broker."""

    def __init__(self, folder: Path, stack: ExitStack, broker: Broker | None = None) -> None:
        self.folder = folder
        settings = {} if broker is None else settings_of(broker)
        self.service = ServiceProcess(folder / "data", **settings)
        (folder / "data").mkdir()
        self.service.start()
        stack.callback(self.service.stop)
        self.service.wait_ready()
        self.key = (folder / "data" / "admin.key").read_text().strip()
        self.http = stack.enter_context(service_http(self.service.url, self.key))
        self.engine: Engine = stack.enter_context(learner_store(folder / "learner.db"))
        self.bus: EventBus = stack.enter_context(
            connect_bus("embedded", url=self.service.url, api_key=self.key)
            if broker is None
            else KafkaBus(broker.bootstrap, options=broker.options)
        )
        self.keys = ServiceKeys(self.http)

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        answer = self.http.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def talk(self, user: str, number: int) -> None:
        name = f"{user}-{number}"
        said = [{"role": "user", "content": f"{SECRET}, where is my parcel?"}]
        self.post("/v1/turns", messages=said, answers=["On its way."], completion_id=name, user=user)
        self.post("/v1/feedback", kind="thumb", completion_id=name, value="up", comment=f"thanks {SECRET}", user=user)
        self.post("/v1/feedback", kind="correction", completion_id=name, text=f"Dear {SECRET}, it is lost.", user="eve")

    def catch_up(self, *wanted: str) -> None:
        """Read until the store holds these turns and both pieces of feedback on each, and nothing else."""
        consumer, deadline = Consumer(self.engine, self.bus), time.monotonic() + 60
        while self.stored() != (sorted(wanted), sorted(wanted * 2)):
            assert time.monotonic() < deadline, self.stored()
            consumer.step(0.5)
        consumer.close()

    def stored(self) -> tuple[list[str], list[str]]:
        with reading(self.engine) as session:
            turns = sorted(session.exec(select(TurnRow.completion_id)))
            return turns, sorted(str(of) for of in session.exec(select(FeedbackRow.completion_id)))

    def readable(self) -> list[str]:
        """Files in which the secret can be read."""
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        return [path.name for path in files if SECRET.encode() in path.read_bytes()]


def settings_of(broker: Broker) -> dict[str, str]:
    options = {f"kafka_{name}": ".".join(map(str, value)) for name, value in broker.options.items()}
    return {"database_url": postgres_url(), "kafka_bootstrap": broker.bootstrap, **options}


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    with ExitStack() as stack:
        yield Chain(tmp_path, stack)


@pytest.fixture
def chain_over_kafka(tmp_path: Path) -> Iterator[Chain]:
    """With PostgreSQL. A real broker keeps its log below the folder, where the secret is looked for, too."""
    with ExitStack() as stack:
        (tmp_path / "kafka").mkdir()
        broker = LocalBroker(tmp_path / "kafka") if SERVER.exists() and shutil.which("java") else MockBroker()
        stack.callback(broker.close)
        broker.create_topics("")
        yield Chain(tmp_path, stack, broker)


def test_somebody_is_forgotten_from_the_api_to_the_snapshots(chain: Chain) -> None:
    forget(chain)


@pytest.mark.kafka
@pytest.mark.postgres
def test_somebody_is_forgotten_on_kafka_and_postgresql(chain_over_kafka: Chain) -> None:
    forget(chain_over_kafka)


def forget(chain: Chain) -> None:
    for number in range(2):
        chain.talk("ann", number)
    chain.talk("bob", 0)
    chain.catch_up("ann-0", "ann-1", "bob-0")
    before = freeze(chain.engine, chain.folder, chain.keys).snapshot
    assert (len(before.judged), len(before.demos)) == (3, 3)
    assert all(SECRET in demo.text for demo in before.demos)
    assert chain.readable() == []

    receipt = chain.http.delete("/v1/users/ann").json()
    assert (receipt["turns"], receipt["feedback"], receipt["state"]) == (2, 4, "erased")
    chain.catch_up("bob-0")
    left = load(chain.folder, before.hash, chain.keys)
    assert (left.snapshot.hash, len(left.snapshot.judged), left.erased) == (before.hash, 1, 6)
    after = freeze(chain.engine, chain.folder, chain.keys).snapshot
    assert (len(after.judged), len(after.pairs), len(after.demos)) == (1, 1, 1)

    forgetter = Forgetter(chain.engine, chain.bus, runs=chain.folder / "runs", data=chain.folder)
    assert forgetter.apply() == 1
    found: dict[str, Any] = {}
    deadline = time.monotonic() + 30
    while found.get("state") != "complete":
        assert time.monotonic() < deadline, found
        found = chain.http.get(f"/v1/erasures/{receipt['erasure_id']}").json()
        time.sleep(0.1)
    assert chain.readable() == []


def test_a_rebuild_from_zero_equals_the_store_after_an_erasure(chain: Chain) -> None:
    chain.talk("ann", 0)
    chain.talk("bob", 0)
    chain.catch_up("ann-0", "bob-0")
    chain.http.delete("/v1/users/ann")
    chain.talk("ann", 1)
    chain.catch_up("ann-1", "bob-0")
    with learner_store(chain.folder / "rebuilt.db") as rebuilt:
        found = check(chain.engine, rebuilt, chain.bus, lambda _: None)
    assert found.equal, found
    assert found.rows["turns"] == 2


def test_without_the_service_there_are_no_keys_and_nothing_is_lost(chain: Chain) -> None:
    chain.talk("ann", 0)
    chain.catch_up("ann-0")
    chain.service.stop()
    with pytest.raises(KeysAway):
        freeze(chain.engine, chain.folder, chain.keys)
    with service_http(chain.service.url, "tw-wrong") as http, pytest.raises(KeysAway):
        ServiceKeys(http).get(["ab" * 16])
    chain.service.start()
    chain.service.wait_ready()
    assert len(freeze(chain.engine, chain.folder, chain.keys).snapshot.judged) == 1


def test_keys_are_for_admins_alone(chain: Chain) -> None:
    answer = httpx.post(f"{chain.service.url}/internal/keys", content=b"", trust_env=False)
    assert answer.status_code == 401
