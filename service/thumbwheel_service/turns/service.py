"""Turns that were answered elsewhere come in here; every turn can be read back."""

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from thumbwheel.box import Secrets
from thumbwheel.events import TurnCompleted, new_id, now_ms, wrap
from thumbwheel.types import FeedbackRecord, Turn, TurnChoice, TurnIn, TurnPage
from thumbwheel_service.db.keyring import Subject, subject_of
from thumbwheel_service.db.reader import Reader
from thumbwheel_service.db.session import Session
from thumbwheel_service.db.writer import Writer
from thumbwheel_service.errors import BadInput, Conflicting
from thumbwheel_service.feedback import repository as feedback
from thumbwheel_service.idempotency import Answer, Once, apply_once
from thumbwheel_service.log.append import append_events
from thumbwheel_service.redaction.cleared import Cleared
from thumbwheel_service.redaction.redactor import Redactor
from thumbwheel_service.turns import repository
from thumbwheel_service.turns.messages import check_messages
from thumbwheel_service.turns.repository import Completion, TurnFilter

IMPORTED = "import"
"""Policy version of answers that none of our policies gave."""
_LATEST_MS = 253_402_300_799_000
_encoder = msgspec.json.Encoder()


class BadTurn(BadInput):
    """A turn whose fields are well-formed and still make no sense."""

    code = "invalid_turn"


class TurnExists(Conflicting):
    """The completion id is taken by a turn with other content."""

    code = "completion_id_taken"


class TurnService:
    """Brings turns in and reads them back."""

    def __init__(self, writer: Writer, reader: Reader, redactor: Redactor) -> None:
        self._writer = writer
        self._reader = reader
        self._redactor = redactor

    async def bring(self, tenant: str, turn: TurnIn, once: Once | None) -> Answer:
        """Store an answer given elsewhere, with its event; 201 with a `Turn`, 200 when the same one is there already.

        Raises `BadTurn`, `BadMessage`, and `TurnExists` when the id is taken by other content.
        """
        _check(turn)
        cleared = await self._redactor.turn(_completed(turn))

        def work(session: Session) -> Answer:
            return _bring(session, tenant, turn, cleared, self._redactor)

        return await self._writer.run(lambda session: apply_once(session, once, work))

    async def get(self, tenant: str, completion_id: str) -> Turn:
        """A turn with its current feedback; raises `UnknownCompletion`, `NotStored`."""

        def read(session: Session) -> Turn:
            row = repository.find(session, tenant, completion_id)
            return _with_feedback(session, tenant, [row])[0]

        return await self._reader.run(read)

    async def page(self, tenant: str, wanted: TurnFilter, *, cursor: str | None, limit: int) -> TurnPage:
        """Turns newest first, with their current feedback; raises `BadCursor`."""

        def read(session: Session) -> TurnPage:
            rows, following = repository.page(session, tenant, wanted, cursor=cursor, limit=limit)
            return TurnPage(items=_with_feedback(session, tenant, rows), next=following)

        return await self._reader.run(read)


def _check(turn: TurnIn) -> None:
    check_messages(turn.messages)
    if turn.created_ms is not None and not 0 <= turn.created_ms <= _LATEST_MS:
        raise BadTurn("created_ms is milliseconds since 1970", field="created_ms")
    if turn.model is not None and "\0" in turn.model:
        raise BadTurn("a model's name has no NUL in it", field="model")


def _bring(session: Session, tenant: str, turn: TurnIn, cleared: Cleared[TurnCompleted], redactor: Redactor) -> Answer:
    event = cleared.value
    existing = _existing(session, tenant, turn.completion_id)
    if existing is not None:
        if not _same(repository.whole(session, existing), turn, event, redactor):
            raise TurnExists(f"completion_id {turn.completion_id!r} is taken by another turn", field="completion_id")
        stored = _with_feedback(session, tenant, [existing])[0]
        return Answer(200, _encoder.encode(stored), _keys_of(session, tenant, stored))
    sealed, keys = repository.seal(session, tenant, cleared)
    repository.insert_complete(session, tenant, event, sealed.box)
    append_events(session, [wrap(sealed, tenant=tenant, event_id=f"{event.completion_id}/turn")])
    return Answer(201, _encoder.encode(repository.of_event(event)), keys)


def _keys_of(session: Session, tenant: str, turn: Turn) -> Secrets:
    """The keys of everybody who speaks in a turn with its feedback."""
    users = {record.feedback.user for record in turn.feedback} - {None}
    people = [Subject("user", user) for user in users if user is not None]
    return session.keys_of(tenant, subject_of(turn.user, turn.conversation_id), *people)


def _existing(session: Session, tenant: str, completion_id: str | None) -> Completion | None:
    if completion_id is None:
        return None
    row = repository.find_any(session, completion_id)
    foreign = row is not None and row.tenant != tenant
    if foreign or repository.is_unstored(session, completion_id):
        raise TurnExists(f"completion_id {completion_id!r} is taken", field="completion_id")
    return row


def _same(stored: TurnCompleted | None, turn: TurnIn, event: TurnCompleted, redactor: Redactor) -> bool:
    """Whether what is stored is what this turn would have become; what the turn leaves open is taken from there."""
    if stored is None or stored.origin != "import":
        return False
    would = replace(
        event,
        conversation_id=turn.conversation_id or stored.conversation_id,
        created_ms=stored.created_ms if turn.created_ms is None else turn.created_ms,
        finished_ms=stored.finished_ms,
    )
    return would == stored or would == redactor.again(stored)


def _completed(turn: TurnIn) -> TurnCompleted:
    now = now_ms()
    return TurnCompleted(
        completion_id=turn.completion_id or new_id("turn"),
        conversation_id=turn.conversation_id or new_id("conv"),
        policy_version=IMPORTED,
        status="complete",
        origin="import",
        created_ms=now if turn.created_ms is None else turn.created_ms,
        finished_ms=now,
        messages=turn.messages,
        choices=[TurnChoice(index=i, text=text) for i, text in enumerate(turn.answers)],
        model=turn.model or IMPORTED,
        user=turn.user,
        metadata=turn.metadata,
    )


def _with_feedback(session: Session, tenant: str, rows: Sequence[Completion]) -> list[Turn]:
    spoken: dict[str, list[FeedbackRecord]] = feedback.of_completions(session, tenant, [r.completion_id for r in rows])
    return [repository.to_turn(session, row, spoken[row.completion_id]) for row in rows]
