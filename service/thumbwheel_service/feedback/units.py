"""What may be done with a piece of feedback inside a transaction: put and retract."""

from typing import Literal, NamedTuple, TypeVar

import msgspec

from thumbwheel.box import Secrets
from thumbwheel.events import now_ms
from thumbwheel.types import Critique, Demonstration, Feedback, FeedbackRecord
from thumbwheel_service.db.session import Session
from thumbwheel_service.errors import Conflicting, Missing
from thumbwheel_service.feedback import repository, rows
from thumbwheel_service.feedback.rows import Piece, is_same, to_record
from thumbwheel_service.feedback.target import Target, as_answer, concerned, find_again, resolve
from thumbwheel_service.idempotency import Answer
from thumbwheel_service.redaction.cleared import Cleared

T = TypeVar("T")
_encoder = msgspec.json.Encoder()


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
    keys: Secrets
    """Of everybody it concerns."""

    @property
    def status(self) -> int:
        """201 for what is new, else 200."""
        return 201 if self.result == "created" else 200

    @property
    def answer(self) -> Answer:
        """What a request is answered with."""
        return Answer(self.status, _encoder.encode(self.record), self.keys)


def put(session: Session, tenant: str, cleared: Cleared[Feedback]) -> Stored:
    """The unit of `FeedbackService.put`; the same content again changes nothing."""
    feedback = cleared.value
    target = resolve(session, tenant, feedback)
    row = repository.by_natural_key(session, tenant, target.natural_key)
    keys = session.keys_of(tenant, *concerned(target, feedback.user))
    moment = now_ms()
    if row is None:
        if isinstance(feedback, Critique | Demonstration):
            _refuse_taken(session, target)
        new = repository.New(tenant, cleared, target, keys)
        return Stored("created", repository.create(session, [new], moment=moment)[0], keys)
    _refuse_other_target(session, row, feedback, target)
    if not row.retracted and is_same(session, row, feedback):
        return Stored("same", to_record(row, feedback), keys)
    record = repository.revise(session, row, cleared, target, keys, retracted=False, moment=moment)
    return Stored("changed", record, keys)


def put_answer(session: Session, tenant: str, cleared: Cleared[Feedback], review_id: str) -> Stored:
    """Feedback that somebody was asked for, by the question `review_id`, which is answered once."""
    target = as_answer(resolve(session, tenant, cleared.value), review_id)
    keys = session.keys_of(tenant, *concerned(target, cleared.value.user))
    new = repository.New(tenant, cleared, target, keys, review_id)
    return Stored("created", repository.create(session, [new], moment=now_ms())[0], keys)


def retract(session: Session, tenant: str, feedback_id: str) -> Stored:
    """The unit of `FeedbackService.retract`; what is retracted already stays as it is."""
    row = find(session, tenant, feedback_id)
    given = rows.stored(session, row)
    target = find_again(session, tenant, given.value, feedback_id, row.natural_key)
    keys = session.keys_of(tenant, *concerned(target, given.value.user))
    if row.retracted:
        return Stored("same", to_record(row, given.value), keys)
    record = repository.revise(session, row, given, target, keys, retracted=True, moment=now_ms())
    return Stored("retracted", record, keys)


def find(session: Session, tenant: str, feedback_id: str) -> Piece:
    """The current row of an id; raises `UnknownFeedback`."""
    row = repository.by_id(session, feedback_id)
    if row is None or row.tenant != tenant:
        raise UnknownFeedback(f"no feedback {feedback_id!r}")
    return row


def _refuse_taken(session: Session, target: Target) -> None:
    if repository.by_id(session, target.feedback_id) is not None:
        raise IdTaken(f"feedback_id {target.feedback_id!r} is taken", field="feedback_id")


def _refuse_other_target(session: Session, row: Piece, feedback: Feedback, target: Target) -> None:
    """A client-chosen id stays with what it was first given for: kind, answer and person."""
    if not isinstance(feedback, Critique | Demonstration):
        return
    before = rows.stored(session, row).value
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
