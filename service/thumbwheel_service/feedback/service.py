"""What may be done with feedback; one request is one unit of the writer, so one transaction."""

from collections.abc import Sequence

import msgspec

from thumbwheel.types import (
    Feedback,
    FeedbackBatchItem,
    FeedbackBatchResult,
    FeedbackHistory,
    FeedbackPage,
    FeedbackRecord,
)
from thumbwheel_service.db.group import Failed
from thumbwheel_service.db.reader import Reader
from thumbwheel_service.db.session import Session
from thumbwheel_service.db.writer import Writer
from thumbwheel_service.errors import BadInput, ServiceError
from thumbwheel_service.feedback import repository
from thumbwheel_service.feedback.repository import FeedbackFilter
from thumbwheel_service.feedback.rows import read_record
from thumbwheel_service.feedback.together import Done, Given, put_all
from thumbwheel_service.feedback.units import Stored, find, retract
from thumbwheel_service.http import decode, to_problem
from thumbwheel_service.idempotency import Answer, Once, apply_once
from thumbwheel_service.metrics import Metrics
from thumbwheel_service.redaction.cleared import Cleared
from thumbwheel_service.redaction.redactor import Redactor

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Feedback] = msgspec.json.Decoder(Feedback)


class FeedbackService:
    """Stores, changes, retracts and reads feedback."""

    def __init__(self, writer: Writer, reader: Reader, metrics: Metrics, redactor: Redactor) -> None:
        self._writer = writer
        self._reader = reader
        self._metrics = metrics
        self._redactor = redactor

    async def put(self, tenant: str, feedback: Feedback, once: Once | None) -> Answer:
        """Store feedback, or change what its natural key has already; 201 when new, else 200; a `FeedbackRecord`."""
        given = Given(tenant, await self._redactor.feedback(feedback), once)
        answer, stored = await self._writer.run_among(put_all, given)
        self._count([] if stored is None else [stored])
        return answer

    async def retract(self, tenant: str, feedback_id: str, once: Once | None) -> Answer:
        """Take feedback back, as one more revision; raises `UnknownFeedback`."""
        stored: list[Stored] = []

        def work(session: Session) -> Answer:
            stored[:] = [retract(session, tenant, feedback_id)]
            return stored[0].answer

        answer = await self._writer.run(lambda session: apply_once(session, once, work))
        self._count(stored)
        return answer

    async def put_each(self, tenant: str, items: Sequence[msgspec.Raw], once: Once | None) -> Answer:
        """Store several pieces in one transaction; a bad one fails alone, in its own `FeedbackBatchItem`."""
        stored: list[Stored] = []
        read = [await self._read(item) for item in items]
        good = [Given(tenant, item, None) for item in read if isinstance(item, Cleared)]

        def work(session: Session) -> Answer:
            done = iter(put_all(session, good))
            found = [Failed(item) if isinstance(item, BadInput) else next(done) for item in read]
            stored[:] = [one.stored for one in found if isinstance(one, Done) and one.stored is not None]
            results = [_item(index, one) for index, one in enumerate(found)]
            keys = {key_id: key for done in stored for key_id, key in done.keys.items()}
            return Answer(200, _encoder.encode(FeedbackBatchResult(items=results)), keys)

        answer = await self._writer.run(lambda session: apply_once(session, once, work))
        self._count(stored)
        return answer

    async def _read(self, item: msgspec.Raw) -> Cleared[Feedback] | BadInput:
        try:
            feedback = decode(_decoder, item)
        except BadInput as error:
            return error
        return await self._redactor.feedback(feedback)

    def _count(self, stored: Sequence[Stored]) -> None:
        for result, record, _ in stored:
            self._metrics.feedback.labels(record.kind, result).inc()

    async def get(self, tenant: str, feedback_id: str) -> FeedbackRecord:
        """The current revision; raises `UnknownFeedback`."""
        return await self._reader.run(lambda session: read_record(session, find(session, tenant, feedback_id)))

    async def history(self, tenant: str, feedback_id: str) -> FeedbackHistory:
        """Every revision; raises `UnknownFeedback`."""
        return await self._reader.run(lambda session: _history(session, tenant, feedback_id))

    async def page(self, tenant: str, wanted: FeedbackFilter, *, cursor: str | None, limit: int) -> FeedbackPage:
        """Feedback newest first; raises `BadCursor`."""

        def read(session: Session) -> FeedbackPage:
            items, following = repository.page(session, tenant, wanted, cursor=cursor, limit=limit)
            return FeedbackPage(items=items, next=following)

        return await self._reader.run(read)


def _item(index: int, done: Done | Failed) -> FeedbackBatchItem:
    if isinstance(done, Failed):
        error = done.error
        named = isinstance(error, ServiceError) and error.field
        field = f"items[{index}].{named}" if named else f"items[{index}]"
        problem = msgspec.structs.replace(to_problem(error), field=field)
        return FeedbackBatchItem(index=index, status=problem.status, problem=problem)
    record = done.stored.record if done.stored else None
    return FeedbackBatchItem(index=index, status=done.answer.status, record=record)


def _history(session: Session, tenant: str, feedback_id: str) -> FeedbackHistory:
    record = read_record(session, find(session, tenant, feedback_id))
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
