"""What the service makes of a record that it follows; one that it cannot use never holds up the next."""

import logging

import msgspec

from thumbwheel.bus import Record
from thumbwheel.events import Event, decode
from thumbwheel_service.metrics import Metrics

_log = logging.getLogger(__name__)


def understood(record: Record, metrics: Metrics) -> Event | None:
    """The event, or None for what is none: that is said, counted, and passed over."""
    try:
        return decode(record.value).event
    except msgspec.MsgspecError as error:
        skip(record, metrics, f"is not understood: {error}")
        return None


def skip(record: Record, metrics: Metrics, why: str, error: Exception | None = None) -> None:
    """Say and count that a record is passed over."""
    _log.error("%s/%d/%d %s; skipped", record.topic, record.partition, record.offset, ascii(why), exc_info=error)
    metrics.records_skipped.labels(record.topic).inc()
