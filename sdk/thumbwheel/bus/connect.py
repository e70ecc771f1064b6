"""One setting chooses the bus; only the chosen driver is imported."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, overload

from thumbwheel.bus.protocol import EventBus
from thumbwheel.errors import ConfigurationError

if TYPE_CHECKING:
    from thumbwheel.bus.kafka import KafkaBus

BusKind = Literal["embedded", "kafka"]


@overload
def connect_bus(
    kind: Literal["kafka"],
    *,
    bootstrap: str | None,
    kafka_options: Mapping[str, Any] | None = None,
    client_id: str = "thumbwheel",
) -> "KafkaBus": ...


@overload
def connect_bus(
    kind: BusKind,
    *,
    url: str | None = None,
    api_key: str | None = None,
    bootstrap: str | None = None,
    kafka_options: Mapping[str, Any] | None = None,
    client_id: str = "thumbwheel",
) -> EventBus: ...


def connect_bus(
    kind: BusKind,
    *,
    url: str | None = None,
    api_key: str | None = None,
    bootstrap: str | None = None,
    kafka_options: Mapping[str, Any] | None = None,
    client_id: str = "thumbwheel",
) -> EventBus:
    """The bus named by `kind`; nothing is contacted yet.

    embedded needs `url` of the service and its admin `api_key`; kafka needs `bootstrap` (`host:port,host:port`), and
    hands `kafka_options` (security and the rest of kafka-python's settings) to every client it makes, except
    `topic_prefix`, which lets several deployments share a cluster. Raises `ConfigurationError`.
    """
    if kind == "embedded":
        if not url or not api_key:
            raise ConfigurationError("the embedded bus needs the service's URL and its admin key")
        from thumbwheel.bus.embedded import EmbeddedBus

        return EmbeddedBus(url, api_key)
    if kind != "kafka":
        raise ConfigurationError(f"unknown bus {kind!r}: embedded or kafka")
    if not bootstrap:
        raise ConfigurationError("the kafka bus needs its bootstrap servers, e.g. kafka-1:9092,kafka-2:9092")
    try:
        from thumbwheel.bus.kafka import KafkaBus
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "kafka":
            raise
        raise ConfigurationError("the kafka bus needs its driver: pip install 'thumbwheel[kafka]'") from error
    options = dict(kafka_options or {})
    prefix = str(options.pop("topic_prefix", ""))
    return KafkaBus(bootstrap, client_id=client_id, options=options, topic_prefix=prefix)
