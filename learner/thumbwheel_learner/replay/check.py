"""Does the store say what the bus says? A rebuild from the beginning, and the two side by side."""

from sqlalchemy import Engine

from thumbwheel.bus import EventBus, TopicPartition
from thumbwheel.events import TOPICS
from thumbwheel_learner.replay.bounds import Offsets, Span, named, span_of
from thumbwheel_learner.replay.compare import Comparison, compare
from thumbwheel_learner.replay.rebuild import ReplayStopped, Watcher, offsets_of, read_up_to
from thumbwheel_learner.store.ingest import stored_offsets
from thumbwheel_learner.store.session import reading


def rebuild(rebuilt: Engine, bus: EventBus, watch: Watcher) -> None:
    """Fill `rebuilt` with all that is on the bus now. Raises `NotThere`, `ReplayStopped`, `BusError`."""
    span = span_of(bus)
    span.require(offsets_of(rebuilt))
    read_up_to(rebuilt, bus, span.ends, watch)


def check(store: Engine, rebuilt: Engine, bus: EventBus, watch: Watcher) -> Comparison:
    """Fill `rebuilt` as far as `store` has read, and compare them; a learner may go on writing meanwhile.

    Raises `NotThere`, `ReplayStopped`, `BusError`.
    """
    span = span_of(bus)
    span.require(offsets_of(rebuilt))
    read_up_to(rebuilt, bus, _limits(offsets_of(store), span), watch)
    with reading(store) as seen:
        stored = stored_offsets(seen)
        span = span_of(bus)
        limits = _limits(stored, span)
        read_up_to(rebuilt, bus, limits, watch)
        _require_same_reach(offsets_of(rebuilt), limits)
        unread = any(stored.get(at, 0) < end for at, end in span.ends.items() if _is_compacted(at))
        with reading(rebuilt) as other:
            return compare(seen, other, policies_unread=unread)


def _limits(stored: Offsets, span: Span) -> dict[TopicPartition, int]:
    """As far as the store has read. Of a compacted topic all there is: what it has read may have been replaced."""
    span.require_end(stored)
    return {at: end if _is_compacted(at) else stored.get(at, 0) for at, end in span.ends.items()}


def _is_compacted(at: TopicPartition) -> bool:
    return TOPICS[at.topic].compacted


def _require_same_reach(reached: Offsets, limits: Offsets) -> None:
    beyond = [named(at) for at, limit in sorted(limits.items()) if reached.get(at, 0) > limit]
    if beyond:
        raise ReplayStopped(
            f"the rebuild has read further than the store in {', '.join(beyond)}: begin anew with --fresh, or let the "
            "learner catch up"
        )
