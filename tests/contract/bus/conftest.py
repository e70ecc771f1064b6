"""Both buses behind the same handle: `arena.bus()` makes clients, the rest makes trouble."""

import uuid
from collections.abc import Iterator
from typing import Protocol

import pytest
from tests.brokers import Broker
from tests.contract.bus.live_service import LiveService
from tests.kafka_sockets import sockets_collected

from thumbwheel.bus import EventBus
from thumbwheel.bus.embedded import EmbeddedBus
from thumbwheel.bus.kafka import KafkaBus


class Arena(Protocol):
    """An empty bus of one kind."""

    dense: bool
    can_fail: bool
    takes_large: bool
    arguments: list[str]
    """What tells a command of this bus."""
    environment: dict[str, str]

    def bus(self) -> EventBus: ...

    def stop(self) -> None: ...

    def start(self) -> None: ...

    def trim(self, topic: str, partition: int, before: int) -> None: ...


class EmbeddedArena:
    dense = True
    can_fail = True
    takes_large = True

    def __init__(self, service: LiveService) -> None:
        self.stop = service.stop
        self.start = service.start
        self.trim = service.trim
        self._service = service
        self.arguments = ["--url", service.url, "--api-key", service.key]
        self.environment: dict[str, str] = {}

    def bus(self) -> EventBus:
        return EmbeddedBus(self._service.url, self._service.key)


class KafkaArena:
    dense = False

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._prefix = f"test-{uuid.uuid4().hex[:8]}."
        self.can_fail = broker.can_fail
        self.takes_large = broker.has_admin
        self.arguments = ["--kafka-bootstrap", broker.bootstrap]
        self.environment = {"THUMBWHEEL_KAFKA_TOPIC_PREFIX": self._prefix}
        if version := broker.options.get("api_version"):
            self.environment["THUMBWHEEL_KAFKA_API_VERSION"] = ".".join(map(str, version))
        broker.create_topics(self._prefix)

    def bus(self) -> EventBus:
        return KafkaBus(self._broker.bootstrap, options=self._broker.options, topic_prefix=self._prefix)

    def stop(self) -> None:
        self._broker.stop()

    def start(self) -> None:
        self._broker.start()

    def trim(self, topic: str, partition: int, before: int) -> None:
        self._broker.trim(self._prefix + topic, partition, before)


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def arena(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[Arena]:
    """Every test of the contract runs on each bus."""
    if request.param == "embedded":
        service = LiveService(request.getfixturevalue("tmp_path"))
        service.start()
        yield EmbeddedArena(service)
        service.stop()
        return
    with sockets_collected(caplog):
        yield KafkaArena(request.getfixturevalue("broker"))
