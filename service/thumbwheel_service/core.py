"""What every part of the service stands on: database, keys, log, bus, metrics."""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Engine

from thumbwheel.bus import EventBus
from thumbwheel.bus.connect import connect_bus
from thumbwheel.events import new_id
from thumbwheel_service.db.key_store import KeyThread, SqlKeyStore
from thumbwheel_service.db.keyring import Keyring
from thumbwheel_service.db.migrate import open_key_store
from thumbwheel_service.db.reader import Reader
from thumbwheel_service.db.writer import Writer
from thumbwheel_service.erasure.age import AgeRetention, renew_ms
from thumbwheel_service.erasure.service import ErasureService
from thumbwheel_service.log.follow import BusFollower, Follower, LogFollower
from thumbwheel_service.log.relay import LANES, Relay
from thumbwheel_service.log.service import LogService
from thumbwheel_service.log.signal import LogSignal
from thumbwheel_service.metrics import Metrics
from thumbwheel_service.owner import Owner
from thumbwheel_service.redaction.kinds import built_in
from thumbwheel_service.redaction.patterns import load_patterns
from thumbwheel_service.redaction.redactor import Redactor
from thumbwheel_service.settings import Settings

if TYPE_CHECKING:
    from thumbwheel.bus.kafka import KafkaBus


class Core(NamedTuple):
    """What every part stands on."""

    database: Engine
    key_store: SqlKeyStore
    key_thread: KeyThread
    writer: Writer
    reader: Reader
    log: LogService
    follower: Follower
    metrics: Metrics
    redactor: Redactor
    erasures: ErasureService
    age: AgeRetention
    bus: EventBus | None
    """Kafka, or None when the log table is the bus."""
    relays: Sequence[Relay]
    """What carries the log to Kafka; none when the log table is the bus."""
    owner: Owner
    """Of the turns that this process generates, and of what it carries to Kafka."""


def make_core(settings: Settings, database: Engine, redactor: Redactor) -> Core:
    """Everything here; raises `NoDatabase`."""
    key_store = open_key_store(settings.keys_database_url)
    key_thread = KeyThread()
    keyring = Keyring(key_store, renew_ms=renew_ms(settings.retention_days), begin=key_thread.begin)
    writer = Writer(database, keyring, capacity=settings.limits.writes_waiting)
    reader = Reader(database, keyring)
    signal, metrics = LogSignal(), Metrics()
    writer.on_commit(signal.committed)
    writer.observe(metrics.committed)
    redactor.observe(metrics.redacted)
    metrics.watch_writer(lambda: writer.depth)
    log = LogService(writer, reader, signal)
    owner = Owner(settings.replica, new_id("boot"))
    bus, relays = None, list[Relay]()
    follower: Follower = LogFollower(log)
    if settings.bus == "kafka":
        bus = _kafka(settings)
        follower = BusFollower(bus)
        make_topics = _once(bus.ensure_topics)
        for lane, partitions in enumerate(LANES):
            relay = Relay(
                bus,
                writer,
                reader,
                signal,
                owner,
                partitions=partitions,
                make_topics=make_topics,
                lease_seconds=settings.lease_seconds,
            )
            relay.observe(partial(metrics.relay_attempted, lane))
            relays.append(relay)
    erasures = ErasureService(
        writer, reader, key_store, keyring, key_thread, metrics, deadline_days=settings.erasure_days
    )
    age = AgeRetention(writer, reader, keyring, key_thread, metrics, days=settings.retention_days)
    return Core(
        database, key_store, key_thread, writer, reader, log, follower, metrics, redactor, erasures, age,
        bus, relays, owner,
    )  # fmt: skip


def make_redactor(settings: Settings) -> Redactor:
    """Patterns of one's own come first: they know more than ours. Raises `BadPattern`."""
    own = [] if settings.redact_patterns is None else load_patterns(settings.redact_patterns)
    return Redactor([*own, *built_in(settings.redact)], settings.redact_fields)


def _once(work: Callable[[], object]) -> Callable[[], None]:
    """For callers in several threads: the first does it while the others wait; what fails is left to the next."""
    gate, done = threading.Lock(), threading.Event()

    def first() -> None:
        with gate:
            if not done.is_set():
                work()
                done.set()

    return first


def _kafka(settings: Settings) -> "KafkaBus":
    return connect_bus(
        "kafka",
        bootstrap=settings.kafka_bootstrap,
        kafka_options=settings.kafka_options,
        client_id="thumbwheel-service",
    )
