"""Rows of the feedback table, read and written without the ORM: this is the path of every piece of feedback."""

from typing import NamedTuple, cast

import msgspec

from thumbwheel.types import Feedback, FeedbackRecord, Kind
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


COLUMNS = [FEEDBACK.c[name] for name in Piece._fields]


def encode_feedback(feedback: Feedback) -> bytes:
    """What the `body` columns hold; equal content gives equal bytes."""
    return _encoder.encode(feedback)


def decode_feedback(body: bytes) -> Feedback:
    """The other way round."""
    return _decoder.decode(body)


def stored(row: Piece) -> Cleared[Feedback]:
    """What lies in the database already, to be written once more."""
    return Cleared(decode_feedback(row.body))


def to_record(row: Piece, feedback: Feedback | None = None) -> FeedbackRecord:
    """The row as the API returns it; `feedback` is its decoded body, where it is known already."""
    return FeedbackRecord(
        feedback_id=row.feedback_id,
        revision=row.revision,
        retracted=row.retracted,
        kind=cast(Kind, row.kind),
        created_ms=row.created_ms,
        updated_ms=row.updated_ms,
        feedback=decode_feedback(row.body) if feedback is None else feedback,
        completion_id=row.completion_id,
        conversation_id=row.conversation_id,
        policy_version=row.policy_version,
    )
