"""The bus on Kafka, through kafka-python.

The owner of a consumer keeps its offsets with its rows; the group's commits are for lag figures alone. kafka-python
runs one IO thread per client; a producer may be shared between threads, a consumer may not.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from thumbwheel.bus.kafka_consumer import CONSUMER, KafkaConsumer
from thumbwheel.bus.kafka_driver import BLOCK_MS, Driver, errors, known_topic, translated
from thumbwheel.bus.protocol import BusUnavailable, EventConsumer, NewRecord, TopicPartition, key_bytes, partition_of
from thumbwheel.events import TOPICS, Topic

log = logging.getLogger(__name__)
EVENT_ID_HEADER = "event_id"
MAX_MESSAGE_BYTES = 16 << 20
"""Above anything the API admits, so that no acknowledged event can be too big for its topic."""
BATCH_BYTES = 512 << 10
"""Below the megabyte that a broker takes by default; requests are what costs, and 16 KB hold two turns."""
LINGER_MS = 5

_DELIVERY_MS = 10_000
_PRODUCER = {
    "acks": "all",
    "enable_idempotence": True,
    "max_block_ms": BLOCK_MS,
    "delivery_timeout_ms": _DELIVERY_MS,
    "max_request_size": MAX_MESSAGE_BYTES,
    "batch_size": BATCH_BYTES,
    "linger_ms": LINGER_MS,
    "allow_auto_create_topics": False,
}


class KafkaBus:
    """A cluster seen through a topic prefix. Safe to share between threads; nothing is contacted before first use.

    `options` are kafka-python's own settings (security, timeouts, …), each handed to the clients that know it; given as
    strings they are read as the kind of their default. `topic_prefix`, which groups bear too, lets several deployments
    share one cluster. Raises `ConfigurationError` for a setting that nobody knows or that durability rests on.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        client_id: str = "thumbwheel",
        options: Mapping[str, Any] | None = None,
        topic_prefix: str = "",
    ) -> None:
        self._driver = Driver(bootstrap, client_id, options)
        self._prefix = topic_prefix
        self._lock = threading.Lock()
        self._producer: Any = None
        self._closed = False

    def append(self, records: Sequence[NewRecord]) -> None:
        """Append with `acks=all`; records of one key stay in order. Raises `BusUnavailable`, `BusError`."""
        if not records:
            return
        producer = self._current_producer()
        try:
            sent = [
                producer.send(
                    self._prefix + record.topic,
                    value=record.value,
                    key=key_bytes(record.key),
                    headers=[(EVENT_ID_HEADER, record.event_id.encode())],
                    partition=partition_of(record.key, known_topic(record.topic).partitions),
                )
                for record in records
            ]
            for future in sent:
                future.get(timeout=_DELIVERY_MS / 1000 + 1)
        except (errors.KafkaError, AssertionError) as error:
            self._discard(producer)
            raise translated(error, self._driver.bootstrap) from error

    def consumer(
        self, topics: Sequence[str], *, group: str | None, start: Callable[[TopicPartition], int]
    ) -> EventConsumer:
        """A consumer for one thread; see `EventBus`. Raises `BusUnavailable` when no broker answers."""
        for topic in topics:
            known_topic(topic)
        driver = self._driver.consumer(
            **CONSUMER, max_partition_fetch_bytes=MAX_MESSAGE_BYTES, group_id=group and self._prefix + group
        )
        return KafkaConsumer(driver, list(topics), group=group, start=start, prefix=self._prefix)

    def ensure_topics(self) -> dict[str, str]:
        """Create what is missing, change nothing that is there; per topic `created`, `kept` or what is wrong.

        Replication is min(3, brokers), with `min.insync.replicas` 2 at three; at one broker there is a warning in the
        log. Raises `BusUnavailable`, `BusError`.
        """
        admin = self._driver.admin()
        try:
            brokers = len(admin.describe_cluster()["brokers"])
            if brokers == 1:
                log.warning("Kafka has one broker: what it holds is lost with its disk; three brokers keep it")
            there: dict[str, int] = {
                topic["name"]: len(topic["partitions"]) for topic in admin.describe_topics(admin.list_topics() or None)
            }
            return {
                self._prefix + topic.name: self._ensure_topic(admin, topic, there, brokers) for topic in TOPICS.values()
            }
        except errors.KafkaError as error:
            raise translated(error, self._driver.bootstrap) from error
        finally:
            admin.close()

    def _ensure_topic(self, admin: Any, topic: Topic, there: Mapping[str, int], brokers: int) -> str:
        name = self._prefix + topic.name
        found = there.get(name)
        if found is not None:
            return "kept" if found == topic.partitions else f"has {found} partitions, needs {topic.partitions}"
        replicas = min(3, brokers)
        settings = {
            "cleanup.policy": "compact" if topic.compacted else "delete",
            "retention.ms": "-1",
            "retention.bytes": "-1",
            "max.message.bytes": str(MAX_MESSAGE_BYTES),
            "min.insync.replicas": "2" if replicas == 3 else "1",
            "unclean.leader.election.enable": "false",
        }
        wanted = {"num_partitions": topic.partitions, "replication_factor": replicas, "configs": settings}
        try:
            admin.create_topics({name: wanted}, wait_for_metadata=True)
        except errors.TopicAlreadyExistsError:
            return "kept"
        return "created"

    def _current_producer(self) -> Any:
        with self._lock:
            if self._closed:
                raise BusUnavailable("this bus has been closed")
            if self._producer is None:
                self._producer = self._driver.producer(**_PRODUCER)
            return self._producer

    def _discard(self, producer: Any) -> None:
        """After any failure the producer's sequence is in doubt: forget it, the next append builds another."""
        with self._lock:
            if self._producer is not producer:
                return
            self._producer = None
        threading.Thread(target=_retire, args=(producer,), name="kafka-retire", daemon=True).start()

    def close(self) -> None:
        """Close the producer once what is under way has been answered or has expired; safe to call twice."""
        with self._lock:
            self._closed = True
            producer, self._producer = self._producer, None
        if producer is not None:
            _retire(producer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _retire(producer: Any) -> None:
    """Close for good: the driver's `close` gives up, and leaves its thread running, while records are under way.

    They are answered or expired after the delivery timeout at the latest. What still arrives is a duplicate that
    readers know by its event id.
    """
    for _ in range(3):
        try:
            producer.close(timeout=_DELIVERY_MS / 1000)
        except errors.KafkaError:
            continue
        return
