"""Rows of the feedback table, read and written without the ORM: this is the path of every piece of feedback."""

from typing import NamedTuple, cast

import msgspec

from thumbwheel import box
from thumbwheel.box import Secrets
from thumbwheel.types import Feedback, FeedbackRecord, Kind
from thumbwheel_service.db.session import Session
from thumbwheel_service.db.tables import FeedbackRow, table_of
from thumbwheel_service.redaction.cleared import Cleared

FEEDBACK = table_of(FeedbackRow)
_encoder = msgspec.json.Encoder(order="sorted")
_decoder: msgspec.json.Decoder[Feedback] = msgspec.json.Decoder(Feedback)


class Piece(NamedTuple):
    """The current revision of a piece of feedback; the fields are the table's columns."""

    feedback_id: str
    tenant: str
    natural_key: str
    kind: str
    completion_id: str | None
    other_completion_id: str | None
    conversation_id: str | None
    policy_version: str | None
    user: str | None
    revision: int
    retracted: bool
    pending_event: bool
    created_ms: int
    updated_ms: int
    body: bytes
    review_id: str | None = None


COLUMNS = [FEEDBACK.c[name] for name in Piece._fields]


def seal_body(feedback_id: str, feedback: Feedback, keys: Secrets) -> bytes:
    """What the `body` columns hold; equal content under equal keys gives equal bytes."""
    return box.seal(_encoder.encode(feedback), keys, _name(feedback_id))


def open_body(session: Session, feedback_id: str, body: bytes) -> Feedback:
    """The other way round."""
    return _decoder.decode(session.opened(body, _name(feedback_id)))


def is_same(session: Session, row: Piece, feedback: Feedback) -> bool:
    """Whether the row says exactly this."""
    return session.opened(row.body, _name(row.feedback_id)) == _encoder.encode(feedback)


def stored(session: Session, row: Piece) -> Cleared[Feedback]:
    """What lies in the database already, to be written once more."""
    return Cleared(open_body(session, row.feedback_id, row.body))


def _name(feedback_id: str) -> str:
    return f"feedback/{feedback_id}"


def to_record(row: Piece, feedback: Feedback) -> FeedbackRecord:
    """The row as the API returns it; `feedback` is what its body holds."""
    return FeedbackRecord(
        feedback_id=row.feedback_id,
        revision=row.revision,
        retracted=row.retracted,
        kind=cast(Kind, row.kind),
        created_ms=row.created_ms,
        updated_ms=row.updated_ms,
        feedback=feedback,
        completion_id=row.completion_id,
        conversation_id=row.conversation_id,
        policy_version=row.policy_version,
    )


def read_record(session: Session, row: Piece) -> FeedbackRecord:
    """The row as the API returns it."""
    return to_record(row, open_body(session, row.feedback_id, row.body))
