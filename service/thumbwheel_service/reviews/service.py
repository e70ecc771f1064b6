"""Questions come in from the bus, are listed while they are open, and are answered once, by ordinary feedback."""

from typing import Any

from thumbwheel.events import ReviewAsked, ReviewWithdrawn, now_ms, wrap
from thumbwheel.types import Comparison, Correction, Feedback, ReviewAnswer, ReviewPage, Thumb
from thumbwheel_service.db.reader import Reader
from thumbwheel_service.db.session import Session
from thumbwheel_service.db.writer import Writer
from thumbwheel_service.errors import BadInput, Conflicting, Missing
from thumbwheel_service.feedback.units import Stored, put_answer
from thumbwheel_service.idempotency import Answer, Once, apply_once
from thumbwheel_service.log.append import append_events
from thumbwheel_service.metrics import Metrics
from thumbwheel_service.redaction.redactor import Redactor
from thumbwheel_service.reviews import repository
from thumbwheel_service.reviews.repository import Question
from thumbwheel_service.turns import repository as turns


class UnknownReview(Missing):
    """No question has this id."""

    code = "unknown_review"


class ReviewClosed(Conflicting):
    """The question is answered already, too late, or withdrawn; `code` says which."""

    code = "review_withdrawn"


class BadAnswer(BadInput):
    """The answer does not fit the question."""

    code = "invalid_answer"


_CLOSED = {
    "answered": ("review_answered", "somebody has answered this question already"),
    "expired": ("review_expired", "it is too late to answer this question"),
    "reranked": ("review_withdrawn", "the learner has withdrawn this question: others are worth more now"),
    "erased": ("review_withdrawn", "this question is withdrawn: somebody it concerns was erased"),
}


class ReviewService:
    """What people may do with the learner's questions."""

    def __init__(self, writer: Writer, reader: Reader, metrics: Metrics, redactor: Redactor) -> None:
        self._writer = writer
        self._reader = reader
        self._metrics = metrics
        self._redactor = redactor

    async def heard(self, event: ReviewAsked | ReviewWithdrawn) -> None:
        """What the bus says of a question; again is fine, and so is one about a turn that is not there any more.

        Raises `Unavailable`, `TooMany`.
        """
        known = await self._reader.run(lambda session: repository.find(session, event.review_id))
        match event:
            case ReviewAsked() if known is None and event.expires_ms > now_ms():
                await self._writer.run(lambda session: _ask(session, event))
            case ReviewWithdrawn() if known is not None and known.state == "open":
                await self._writer.run(
                    lambda session: repository.close(session, event.review_id, event.reason, event.created_ms)
                )
            case _:
                pass

    async def page(self, tenant: str, *, cursor: str | None, limit: int) -> ReviewPage:
        """Open questions newest first; raises `BadCursor`."""

        def read(session: Session) -> ReviewPage:
            items, following = repository.open_page(session, tenant, now_ms(), cursor=cursor, limit=limit)
            return ReviewPage(items=items, next=following)

        return await self._reader.run(read)

    async def answer(self, tenant: str, review_id: str, given: ReviewAnswer, once: Once | None) -> Answer:
        """Store the answer as feedback and close the question, in one transaction; 201 with a `FeedbackRecord`.

        Raises `UnknownReview`, `BadAnswer`, `ReviewClosed`.
        """
        feedback = await self._reader.run(lambda session: _feedback(session, tenant, review_id, given))
        cleared = await self._redactor.feedback(feedback)
        stored: list[Stored] = []

        def work(session: Session) -> Answer:
            _require_open(_find(session, tenant, review_id))
            stored[:] = [put_answer(session, tenant, cleared, review_id)]
            now = now_ms()
            repository.close(session, review_id, "answered", now, stored[0].record.feedback_id)
            event = ReviewWithdrawn(review_id=review_id, reason="answered", created_ms=now)
            append_events(session, [wrap(event, tenant=tenant, event_id=f"{review_id}/answered")])
            return stored[0].answer

        answer = await self._writer.run(lambda session: apply_once(session, once, work))
        for result, record, _ in stored:
            self._metrics.feedback.labels(record.kind, result).inc()
        return answer


def _ask(session: Session, event: ReviewAsked) -> None:
    """The question belongs to the tenant of its turn; without the turn there is nothing to show."""
    completion = turns.find_any(session, event.completion_id)
    if completion is not None and completion.body is not None and repository.find(session, event.review_id) is None:
        repository.insert_asked(session, completion.tenant, event)


def _find(session: Session, tenant: str, review_id: str) -> Question:
    row = repository.find(session, review_id)
    if row is None or row.tenant != tenant:
        raise UnknownReview(f"no question {review_id!r}")
    return row


def _require_open(row: Question) -> None:
    if not row.is_open(now_ms()):
        code, words = _CLOSED["expired" if row.state == "open" else row.state]
        raise ReviewClosed(words, code=code)


def _feedback(session: Session, tenant: str, review_id: str, given: ReviewAnswer) -> Feedback:
    """The answer as the feedback that it is."""
    row = _find(session, tenant, review_id)
    said: dict[str, Any] = {"user": given.user, "source": given.source, "metadata": given.metadata}
    said |= {"completion_id": row.completion_id, "choice": row.choice}
    if (given.value is None) == (given.correction is None):
        raise BadAnswer("give exactly one of value and correction", field="value")
    if given.value not in ("up", "down") and (given.reasons or given.comment):
        raise BadAnswer("reasons and a comment go with up or down", field="reasons" if given.reasons else "comment")
    match row.kind, given.value:
        case "judge", None:
            return Correction(text=given.correction or "", **said)
        case "judge", "up" | "down" as value:
            return Thumb(value=value, reasons=given.reasons, comment=given.comment, **said)
        case "compare", "this" | "other" | "tie" as value:
            return Comparison(value=value, other_text=repository.other_answer(session, row), **said)
        case _:
            wanted = "up or down, or a correction" if row.kind == "judge" else "this, other or tie"
            raise BadAnswer(f"this question is answered by {wanted}", field="value")
