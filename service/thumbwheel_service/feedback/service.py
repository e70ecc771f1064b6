"""What may be done with feedback; one request is one unit of the writer, so one transaction."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import msgspec
from sqlmodel import Session

from thumbwheel.events import now_ms
from thumbwheel.types import (
    Critique,
    Demonstration,
    Feedback,
    FeedbackBatchItem,
    FeedbackBatchResult,
    FeedbackHistory,
    FeedbackPage,
    FeedbackRecord,
)
from thumbwheel_service.db.reader import Reader
from thumbwheel_service.db.writer import Writer
from thumbwheel_service.errors import BadInput, Conflicting, Missing, ServiceError
from thumbwheel_service.feedback import repository, rows
from thumbwheel_service.feedback.repository import FeedbackFilter
from thumbwheel_service.feedback.rows import Piece, decode_feedback, encode_feedback, to_record
from thumbwheel_service.feedback.target import Target, find_again, resolve
from thumbwheel_service.http import decode, to_problem
from thumbwheel_service.idempotency import Answer, Once, apply_once
from thumbwheel_service.metrics import Metrics
from thumbwheel_service.redaction.cleared import Cleared
from thumbwheel_service.redaction.redactor import Redactor

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Feedback] = msgspec.json.Decoder(Feedback)


class UnknownFeedback(Missing):
    """No feedback has this id."""

    code = "unknown_feedback"


class IdTaken(Conflicting):
    """The chosen `feedback_id` belongs to feedback on something else."""

    code = "feedback_id_taken"


Result = Literal["created", "changed", "same", "retracted"]


class Stored(NamedTuple):
    """What became of a piece of feedback."""

    result: Result
    record: FeedbackRecord

    @property
    def status(self) -> int:
        """201 for what is new, else 200."""
        return 201 if self.result == "created" else 200


class FeedbackService:
    """Stores, changes, retracts and reads feedback."""

    def __init__(self, writer: Writer, reader: Reader, metrics: Metrics, redactor: Redactor) -> None:
        self._writer = writer
        self._reader = reader
        self._metrics = metrics
        self._redactor = redactor

    async def put(self, tenant: str, feedback: Feedback, once: Once | None) -> Answer:
        """Store feedback, or change what its natural key has already; 201 when new, else 200; a `FeedbackRecord`."""
        cleared = await self._redactor.feedback(feedback)
        return await self._apply(once, lambda session: put(session, tenant, cleared))

    async def retract(self, tenant: str, feedback_id: str, once: Once | None) -> Answer:
        """Take feedback back, as one more revision; raises `UnknownFeedback`."""
        return await self._apply(once, lambda session: retract(session, tenant, feedback_id))

    async def put_each(self, tenant: str, items: Sequence[msgspec.Raw], once: Once | None) -> Answer:
        """Store several pieces in one transaction; a bad one fails alone, in its own `FeedbackBatchItem`."""
        stored: list[Stored] = []
        read = [await self._read(item) for item in items]

        def work(session: Session) -> Answer:
            stored.clear()
            results = [_put_item(session, tenant, i, item, stored) for i, item in enumerate(read)]
            return Answer(200, _encoder.encode(FeedbackBatchResult(items=results)))

        answer = await self._writer.run(lambda session: apply_once(session, once, work))
        self._count(stored)
        return answer

    async def _read(self, item: msgspec.Raw) -> Cleared[Feedback] | BadInput:
        try:
            feedback = decode(_decoder, item)
        except BadInput as error:
            return error
        return await self._redactor.feedback(feedback)

    async def _apply(self, once: Once | None, change: Callable[[Session], Stored]) -> Answer:
        stored: list[Stored] = []

        def work(session: Session) -> Answer:
            stored[:] = [change(session)]
            return Answer(stored[0].status, _encoder.encode(stored[0].record))

        answer = await self._writer.run(lambda session: apply_once(session, once, work))
        self._count(stored)
        return answer

    def _count(self, stored: Sequence[Stored]) -> None:
        for result, record in stored:
            self._metrics.feedback.labels(record.kind, result).inc()

    async def get(self, tenant: str, feedback_id: str) -> FeedbackRecord:
        """The current revision; raises `UnknownFeedback`."""
        return await self._reader.run(lambda session: to_record(_find(session, tenant, feedback_id)))

    async def history(self, tenant: str, feedback_id: str) -> FeedbackHistory:
        """Every revision; raises `UnknownFeedback`."""
        return await self._reader.run(lambda session: _history(session, tenant, feedback_id))

    async def page(self, tenant: str, wanted: FeedbackFilter, *, cursor: str | None, limit: int) -> FeedbackPage:
        """Feedback newest first; raises `BadCursor`."""

        def read(session: Session) -> FeedbackPage:
            items, following = repository.page(session, tenant, wanted, cursor=cursor, limit=limit)
            return FeedbackPage(items=items, next=following)

        return await self._reader.run(read)


def put(session: Session, tenant: str, cleared: Cleared[Feedback]) -> Stored:
    """The unit of `FeedbackService.put`; the same content again changes nothing."""
    feedback = cleared.value
    target = resolve(session, tenant, feedback)
    row = repository.by_natural_key(session, tenant, target.natural_key)
    moment = now_ms()
    if row is None:
        if isinstance(feedback, Critique | Demonstration):
            _refuse_taken(session, target)
        return Stored("created", repository.create(session, tenant, cleared, target, moment))
    _refuse_other_target(row, feedback, target)
    if not row.retracted and row.body == encode_feedback(feedback):
        return Stored("same", to_record(row))
    return Stored("changed", repository.revise(session, row, cleared, target, retracted=False, moment=moment))


def retract(session: Session, tenant: str, feedback_id: str) -> Stored:
    """The unit of `FeedbackService.retract`; what is retracted already stays as it is."""
    row = _find(session, tenant, feedback_id)
    if row.retracted:
        return Stored("same", to_record(row))
    given = rows.stored(row)
    target = find_again(session, tenant, given.value, feedback_id, row.natural_key)
    return Stored("retracted", repository.revise(session, row, given, target, retracted=True, moment=now_ms()))


def _put_item(
    session: Session, tenant: str, index: int, item: Cleared[Feedback] | BadInput, stored: list[Stored]
) -> FeedbackBatchItem:
    try:
        if isinstance(item, BadInput):
            raise item
        with session.begin_nested():
            done = put(session, tenant, item)
    except ServiceError as error:
        field = f"items[{index}].{error.field}" if error.field else f"items[{index}]"
        problem = msgspec.structs.replace(to_problem(error), field=field)
        return FeedbackBatchItem(index=index, status=problem.status, problem=problem)
    stored.append(done)
    return FeedbackBatchItem(index=index, status=done.status, record=done.record)


def _find(session: Session, tenant: str, feedback_id: str) -> Piece:
    row = repository.by_id(session, feedback_id)
    if row is None or row.tenant != tenant:
        raise UnknownFeedback(f"no feedback {feedback_id!r}")
    return row


def _refuse_taken(session: Session, target: Target) -> None:
    if repository.by_id(session, target.feedback_id) is not None:
        raise IdTaken(f"feedback_id {target.feedback_id!r} is taken", field="feedback_id")


def _refuse_other_target(row: Piece, feedback: Feedback, target: Target) -> None:
    """A client-chosen id stays with what it was first given for: kind, answer and person."""
    if not isinstance(feedback, Critique | Demonstration):
        return
    before = decode_feedback(row.body)
    completion_id = target.completion.completion_id if target.completion else None
    same = (
        row.kind == type(feedback).__name__.lower()
        and row.completion_id == completion_id
        and row.user == feedback.user
        and getattr(before, "choice", 0) == target.choice
    )
    if not same:
        raise IdTaken(
            f"feedback_id {target.feedback_id!r} belongs to other feedback; choose another", field="feedback_id"
        )


def _history(session: Session, tenant: str, feedback_id: str) -> FeedbackHistory:
    record = to_record(_find(session, tenant, feedback_id))
    revisions = [
        msgspec.structs.replace(
            record,
            revision=revision.revision,
            retracted=revision.retracted,
            updated_ms=revision.created_ms,
            feedback=revision.feedback,
        )
        for revision in repository.revisions(session, feedback_id)
    ]
    return FeedbackHistory(feedback_id=feedback_id, revisions=revisions)
