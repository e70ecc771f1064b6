"""The event bus: one small Protocol, two roads (Kafka, and the service's own log table)."""

from thumbwheel.bus.protocol import (
    BusError,
    BusUnavailable,
    EventBus,
    EventConsumer,
    NewRecord,
    OffsetOutOfRange,
    Record,
    TopicPartition,
    key_bytes,
    key_text,
    partition_of,
)

__all__ = [
    "BusError",
    "BusUnavailable",
    "EventBus",
    "EventConsumer",
    "NewRecord",
    "OffsetOutOfRange",
    "Record",
    "TopicPartition",
    "key_bytes",
    "key_text",
    "partition_of",
]
