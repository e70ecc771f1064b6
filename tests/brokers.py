"""Kafka brokers for tests: KAFKA_BOOTSTRAP, else a real one beside the checkout, else librdkafka's mock cluster."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from tests.processes import end

from thumbwheel.events import TOPICS

SERVER = Path(__file__).resolve().parents[2] / "shared" / "kafka" / "kafka-server"


class Broker(Protocol):
    """A broker that tests may take down; `can_fail` is False where it belongs to somebody else."""

    name: str
    bootstrap: str
    options: dict[str, Any]
    can_fail: bool
    has_admin: bool

    def create_topics(self, prefix: str) -> None: ...

    def trim(self, topic: str, partition: int, before: int) -> None: ...

    def stop(self) -> None: ...

    def start(self) -> None: ...

    def close(self) -> None: ...


def find_broker(folder: Path) -> Broker:
    """The best broker this machine offers (KAFKA_BOOTSTRAP=mock: the mock in any case).

    `folder` is where a started one may keep its data.
    """
    external = os.environ.get("KAFKA_BOOTSTRAP")
    if external == "mock":
        return MockBroker()
    if external:
        return ExternalBroker(external)
    if SERVER.exists() and shutil.which("java"):
        return LocalBroker(folder)
    return MockBroker()


def create_topics(broker: Broker, prefix: str) -> None:
    from thumbwheel.bus.kafka import KafkaBus

    with KafkaBus(broker.bootstrap, options=broker.options, topic_prefix=prefix) as bus:
        states = bus.ensure_topics()
    assert set(states.values()) == {"created"}, states


def trim(broker: Broker, topic: str, partition: int, before: int) -> None:
    import kafka

    admin = kafka.KafkaAdminClient(bootstrap_servers=broker.bootstrap, **broker.options)
    try:
        admin.delete_records({kafka.TopicPartition(topic, partition): before})
    finally:
        admin.close()


class ExternalBroker:
    """Somebody else's cluster, given by KAFKA_BOOTSTRAP."""

    can_fail = False
    has_admin = True

    def __init__(self, bootstrap: str) -> None:
        self.name = f"KAFKA_BOOTSTRAP={bootstrap}"
        self.bootstrap = bootstrap
        self.options: dict[str, Any] = {}

    def create_topics(self, prefix: str) -> None:
        create_topics(self, prefix)

    def trim(self, topic: str, partition: int, before: int) -> None:
        trim(self, topic, partition, before)

    def stop(self) -> None:
        raise NotImplementedError("it is not ours to stop")

    def start(self) -> None:
        raise NotImplementedError("it is not ours to start")

    def close(self) -> None:
        pass


class LocalBroker:
    """A real Apache Kafka, started here on free ports; `stop` kills it, `start` brings it back with its data."""

    can_fail = True
    has_admin = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port_pair()
        self._process: subprocess.Popen[bytes] | None = None
        self.bootstrap = f"127.0.0.1:{self._port}"
        self.name = f"Apache Kafka started at {self.bootstrap}"
        self.options: dict[str, Any] = {}
        self.start()

    def create_topics(self, prefix: str) -> None:
        create_topics(self, prefix)

    def trim(self, topic: str, partition: int, before: int) -> None:
        trim(self, topic, partition, before)

    def start(self) -> None:
        log = self._folder / "kafka.log"
        with log.open("ab") as output:
            began = output.tell()
            self._process = subprocess.Popen(
                [str(SERVER), str(self._port), str(self._folder / "data")],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "KAFKA_HEAP": "384m"},
            )
        wait_until(lambda: b"Kafka Server started" in log.read_bytes()[began:], 60, "Kafka did not start")

    def stop(self) -> None:
        end(self._process, signal.SIGKILL)

    def close(self) -> None:
        end(self._process, signal.SIGTERM)


class MockBroker:
    """librdkafka's mock cluster, one broker or more in this process; no admin calls, five MiB per partition."""

    can_fail = True
    has_admin = False
    name = "librdkafka's mock cluster"

    def __init__(self, brokers: int = 1) -> None:
        self._brokers = range(1, brokers + 1)
        self._lib = _librdkafka()
        self.options: dict[str, Any] = {"api_version": (2, 3)}
        error = ctypes.create_string_buffer(512)
        conf = self._lib.rd_kafka_conf_new()
        self._handle = self._lib.rd_kafka_new(0, conf, error, len(error))
        if not self._handle:
            raise RuntimeError(f"librdkafka: {error.value.decode()}")
        self._cluster = self._lib.rd_kafka_mock_cluster_new(self._handle, brokers)
        self.bootstrap = self._lib.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        self.bootstrap = self.bootstrap.replace("localhost", "127.0.0.1")
        self._lib.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)

    def create_topics(self, prefix: str) -> None:
        for topic in TOPICS.values():
            name = (prefix + topic.name).encode()
            failed = self._lib.rd_kafka_mock_topic_create(self._cluster, name, topic.partitions, len(self._brokers))
            assert not failed, failed

    def trim(self, topic: str, partition: int, before: int) -> None:
        failed = self._lib.rd_kafka_mock_partition_delete_records(self._cluster, topic.encode(), partition, before)
        assert not failed, failed

    def stop(self) -> None:
        for broker in self._brokers:
            self._lib.rd_kafka_mock_broker_set_down(self._cluster, broker)

    def start(self) -> None:
        for broker in self._brokers:
            self._lib.rd_kafka_mock_broker_set_up(self._cluster, broker)

    def slow(self, milliseconds: int) -> None:
        """Every answer takes that much longer."""
        for broker in self._brokers:
            self._lib.rd_kafka_mock_broker_set_rtt(self._cluster, broker, milliseconds)

    def lead(self, topic: str, partition: int, broker: int) -> None:
        """Another broker leads a partition from now on."""
        failed = self._lib.rd_kafka_mock_partition_set_leader(self._cluster, topic.encode(), partition, broker)
        assert not failed, failed

    def close(self) -> None:
        if self._cluster:
            self._lib.rd_kafka_mock_cluster_destroy(self._cluster)
            self._lib.rd_kafka_destroy(self._handle)
            self._cluster = None


def _librdkafka() -> ctypes.CDLL:
    import confluent_kafka  # loads the library and everything it depends on

    folder = Path(confluent_kafka.__file__).parent
    candidates = [*folder.parent.glob("confluent_kafka.libs/librdkafka*"), *folder.glob(".dylibs/librdkafka*")]
    if not candidates:
        raise RuntimeError("the confluent-kafka wheel carries no librdkafka")
    lib = ctypes.CDLL(str(candidates[0]))
    pointer, text, whole = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    for name, result, arguments in (
        ("rd_kafka_conf_new", pointer, []),
        ("rd_kafka_new", pointer, [whole, pointer, text, ctypes.c_size_t]),
        ("rd_kafka_destroy", None, [pointer]),
        ("rd_kafka_mock_cluster_new", pointer, [pointer, whole]),
        ("rd_kafka_mock_cluster_destroy", None, [pointer]),
        ("rd_kafka_mock_cluster_bootstraps", text, [pointer]),
        ("rd_kafka_mock_group_initial_rebalance_delay_ms", None, [pointer, ctypes.c_int32]),
        ("rd_kafka_mock_topic_create", whole, [pointer, text, whole, whole]),
        ("rd_kafka_mock_partition_delete_records", whole, [pointer, text, ctypes.c_int32, ctypes.c_int64]),
        ("rd_kafka_mock_broker_set_down", whole, [pointer, ctypes.c_int32]),
        ("rd_kafka_mock_broker_set_up", whole, [pointer, ctypes.c_int32]),
        ("rd_kafka_mock_broker_set_rtt", whole, [pointer, ctypes.c_int32, whole]),
        ("rd_kafka_mock_partition_set_leader", whole, [pointer, text, ctypes.c_int32, ctypes.c_int32]),
    ):
        function = getattr(lib, name)
        function.restype = result
        function.argtypes = arguments
    return lib


def free_port_pair() -> int:
    """A free port whose successor is free too."""
    for _ in range(50):
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port
    raise RuntimeError("no two free neighbouring ports")


def wait_until(condition: Callable[[], bool], seconds: float, complaint: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(complaint)
        time.sleep(0.05)
