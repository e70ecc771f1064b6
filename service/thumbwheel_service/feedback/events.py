"""The event of a piece of feedback: one revision of it, with the prompt and the answers it speaks of."""

from msgspec import UNSET, UnsetType
from sqlalchemy import select

from thumbwheel.box import Secrets
from thumbwheel.events import Envelope, FeedbackRecorded, ReviewMark, wrap
from thumbwheel.sealed import seal_feedback
from thumbwheel.types import Comparison, Feedback
from thumbwheel_service.db.session import Session
from thumbwheel_service.db.tables import ReviewRow, table_of
from thumbwheel_service.feedback.rows import Piece
from thumbwheel_service.feedback.target import Target
from thumbwheel_service.turns import repository as turns

_review = table_of(ReviewRow)


def recorded(session: Session, row: Piece, feedback: Feedback, target: Target, keys: Secrets) -> Envelope:
    """The event of the row's revision; its id is made of the feedback's id and the revision, so none comes twice."""
    completion = target.completion
    spoken = turns.said(session, completion, target.choice) if completion else turns.Said([], None)
    event = FeedbackRecorded(
        feedback_id=row.feedback_id,
        revision=row.revision,
        retracted=row.retracted,
        feedback=feedback,
        created_ms=row.updated_ms,
        completion_id=completion.completion_id if completion else None,
        conversation_id=target.conversation_id,
        policy_version=completion.policy_version if completion else None,
        turn_status=completion.status if completion else None,
        messages=spoken.messages,
        answer=spoken.answer,
        other_answer=_other_answer(session, feedback, target),
        turn_created_ms=completion.created_ms if completion else None,
        review=UNSET if row.review_id is None else _mark(session, row.review_id),
    )
    return wrap(seal_feedback(event, keys), tenant=row.tenant, event_id=f"{row.feedback_id}/{row.revision}")


def _mark(session: Session, review_id: str) -> ReviewMark | UnsetType:
    random = session.execute(select(_review.c.random).where(_review.c.review_id == review_id)).scalar_one_or_none()
    return UNSET if random is None else ReviewMark(review_id=review_id, random=random)


def _other_answer(session: Session, feedback: Feedback, target: Target) -> str | None:
    if target.other is not None:
        return turns.said(session, target.other, target.other_choice).answer
    return feedback.other_text if isinstance(feedback, Comparison) else None
