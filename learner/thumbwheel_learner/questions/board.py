"""Tells the bus what people are asked, and what not any more: at least once, and never in the way of training."""

import logging
from collections.abc import Callable

from sqlalchemy import Engine

from thumbwheel.bus import EventBus, NewRecord
from thumbwheel.events import REVIEWS, ReviewWithdrawn, decode, encode, now_ms, wrap
from thumbwheel_learner.store import questions
from thumbwheel_learner.store.tables import QuestionRow

log = logging.getLogger(__name__)
_LOAD = 200


class QuestionBoard:
    """Works beside the reading (see `Woken`): questions that are too late go, and the bus hears of every change.

    A crash between append and mark tells of a change twice, under the same event id.
    """

    def __init__(self, engine: Engine, bus: EventBus, *, clock: Callable[[], int] = now_ms) -> None:
        self._engine = engine
        self._bus = bus
        self._clock = clock

    def apply(self) -> int:
        """Tell one load; returns how many changes. Raises `BusError` or the database's error: call again."""
        expired = questions.expire(self._engine, self._clock())
        if expired:
            log.info("%d questions were not answered in time", expired)
        rows = questions.untold(self._engine, _LOAD)
        if rows:
            self._bus.append([self._record(row) for row in rows])
            questions.mark_told(self._engine, rows)
        return len(rows)

    def _record(self, row: QuestionRow) -> NewRecord:
        if row.state == "open":
            return NewRecord(REVIEWS.name, row.review_id, decode(row.body).event_id, row.body)
        reason = row.state
        assert reason in ("expired", "reranked", "erased")
        event = ReviewWithdrawn(review_id=row.review_id, reason=reason, created_ms=self._clock())
        envelope = wrap(event, tenant=row.tenant, event_id=f"{row.review_id}/{reason}")
        return NewRecord(REVIEWS.name, row.review_id, envelope.event_id, encode(envelope))
