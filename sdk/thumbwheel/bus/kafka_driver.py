"""kafka-python behind a narrow door: the only file that imports it, and what is shared by everything built on it."""

import socket
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from thumbwheel.bus.protocol import BusError, BusUnavailable
from thumbwheel.errors import ConfigurationError
from thumbwheel.events import TOPICS, Topic

with warnings.catch_warnings():
    # It reads its own protocol files through a deprecated function.
    warnings.simplefilter("ignore", DeprecationWarning)
    import kafka as _untyped_kafka
    import kafka.errors as _untyped_errors

kafka: Any = _untyped_kafka
errors: Any = _untyped_errors
RebalanceListener = _untyped_kafka.ConsumerRebalanceListener

BLOCK_MS = 2_000
"""How long anything may wait for a broker to show up."""

_OURS = frozenset(
    {
        "acks",
        "auto_offset_reset",
        "bootstrap_servers",
        "enable_auto_commit",
        "enable_idempotence",
        "group_id",
        "kafka_client",
        "key_deserializer",
        "key_serializer",
        "transactional_id",
        "value_deserializer",
        "value_serializer",
    }
)
"""Settings that durability or the meaning of a record rests on."""

_COMMON = {"request_timeout_ms": 5_000, "reconnect_backoff_max_ms": 1_000, "bootstrap_timeout_ms": BLOCK_MS}
_PERMANENT = (
    errors.MessageSizeTooLargeError,
    errors.RecordListTooLargeError,
    errors.AuthorizationError,
    errors.KafkaConfigurationError,
    errors.UnsupportedVersionError,
)


class Driver:
    """Makes kafka-python's clients for one cluster; nothing is contacted before that.

    `options` are kafka-python's own settings, each handed to the clients that know it; one that nobody knows, or that
    durability rests on, raises `ConfigurationError`.
    """

    def __init__(self, bootstrap: str, client_id: str, options: Mapping[str, Any] | None) -> None:
        self.bootstrap = [server.strip() for server in bootstrap.split(",") if server.strip()]
        defaults = {
            name: value
            for kind in (kafka.KafkaProducer, kafka.KafkaConsumer, kafka.KafkaAdminClient)
            for name, value in kind.DEFAULT_CONFIG.items()
        }
        given = {name: _read(name, value, defaults.get(name)) for name, value in (options or {}).items()}
        self.options = {"client_id": client_id, **_COMMON, **given}
        unknown = set(given) - set(defaults)
        if not self.bootstrap:
            raise ConfigurationError("the kafka bus needs its bootstrap servers, e.g. kafka-1:9092,kafka-2:9092")
        if fixed := _OURS & set(options or {}):
            raise ConfigurationError(f"not open to configuration: {', '.join(sorted(fixed))}")
        if unknown:
            raise ConfigurationError(f"no such setting of kafka-python: {', '.join(sorted(unknown))}")

    def producer(self, **config: Any) -> Any:
        """A `KafkaProducer`; raises `BusUnavailable`, `BusError`."""
        return self._build(kafka.KafkaProducer, config)

    def consumer(self, **config: Any) -> Any:
        """A `KafkaConsumer`; raises `BusUnavailable`, `BusError`."""
        return self._build(kafka.KafkaConsumer, config)

    def admin(self) -> Any:
        """A `KafkaAdminClient`; raises `BusUnavailable`, `BusError`."""
        return self._build(kafka.KafkaAdminClient, {})

    def _build(self, kind: Any, config: Mapping[str, Any]) -> Any:
        """Build a client; when that fails, stop the threads that its half-built parts have started."""
        if "proxy_url" not in self.options:
            probe(self.bootstrap)
        clients: list[Any] = []

        def keep(**settings: Any) -> Any:
            clients.append(kind.DEFAULT_CONFIG["kafka_client"](**settings))
            return clients[-1]

        given = {name: value for name, value in {**config, **self.options}.items() if name in kind.DEFAULT_CONFIG}
        try:
            return kind(**{"kafka_client": keep, "bootstrap_servers": self.bootstrap, **given})
        except errors.KafkaError as error:
            for client in clients:
                with suppress(Exception):
                    client.close()
            raise translated(error, self.bootstrap) from error


def _read(name: str, value: Any, default: Any) -> Any:
    """A setting as given, or, given as a string by an environment, as the kind of its default."""
    if not isinstance(value, str):
        return value
    try:
        if isinstance(default, bool):
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[value.lower()]
        if name == "api_version":
            return tuple(int(part) for part in value.split("."))
        if isinstance(default, int | float) or name.endswith(("_ms", "_bytes")):
            return float(value) if "." in value or value == "inf" else int(value)
    except (KeyError, ValueError) as error:
        raise ConfigurationError(f"kafka option {name}: cannot read {value!r}") from error
    return value


def known_topic(name: str) -> Topic:
    """The topic of that name; raises `ConfigurationError`."""
    if name not in TOPICS:
        raise ConfigurationError(f"unknown topic {name!r}; known: {', '.join(sorted(TOPICS))}")
    return TOPICS[name]


def probe(bootstrap: Sequence[str]) -> None:
    """Fail fast: a client built while no broker listens can take half a minute to notice one that comes."""
    failures: list[str] = []
    for server in bootstrap:
        host, _, port = server.rpartition(":")
        host, port = (host, port) if host and port.isdigit() else (server, "9092")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=BLOCK_MS / 1000).close()
        except OSError as error:
            failures.append(f"{server}: {error}")
        else:
            return
    raise BusUnavailable(f"no Kafka broker answers ({'; '.join(failures)})")


def translated(error: BaseException, bootstrap: Sequence[str] = ()) -> BusError:
    """Our error for the driver's: what may pass is `BusUnavailable`, what will not is a plain `BusError`."""
    where = f" at {','.join(bootstrap)}" if bootstrap else ""
    reason = f"{type(error).__name__}: {error}"
    if isinstance(error, errors.UnknownTopicOrPartitionError):
        return BusUnavailable(f"Kafka{where} lacks a topic; `thumbwheel topics` makes them ({reason})")
    if isinstance(error, _PERMANENT):
        return BusError(f"Kafka{where} refuses: {reason}")
    return BusUnavailable(f"Kafka{where} is not available: {reason}")
