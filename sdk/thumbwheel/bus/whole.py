"""A topic read whole: everything that is on it at this moment."""

from thumbwheel.bus.protocol import EventBus, Record

_POLL_S = 5.0


def read_whole(bus: EventBus, topic: str) -> list[Record]:
    """Every record up to where the partitions end now, and what has come meanwhile.

    Raises `BusUnavailable`, `BusError`, and `OffsetOutOfRange` for a topic whose beginning is gone.
    """
    consumer = bus.consumer([topic], group=None, start=lambda _: 0)
    found: list[Record] = []
    try:
        ends = consumer.ends()
        while any(consumer.positions().get(at, 0) < end for at, end in ends.items()):
            found += consumer.poll(_POLL_S)
    finally:
        consumer.close()
    return found
