"""A chat's rows: its identity before the first byte, its whole turn with its event after the last token."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, insert, select, update
from sqlmodel import SQLModel

from thumbwheel.events import TurnCompleted, now_ms, wrap
from thumbwheel_service.db.session import Session
from thumbwheel_service.db.tables import CompletionRow, UnstoredRow
from thumbwheel_service.feedback.repository import flush_pending
from thumbwheel_service.log.append import append_events
from thumbwheel_service.owner import Owner
from thumbwheel_service.redaction.cleared import Cleared
from thumbwheel_service.turns.repository import seal

_completion = SQLModel.metadata.tables["completion"]
_unstored = SQLModel.metadata.tables["unstored"]


def insert_identity(session: Session, row: CompletionRow) -> None:
    """The completion exists now, and is open."""
    session.execute(insert(_completion), row.model_dump())


def insert_unstored(session: Session, completion_id: str, tenant: str) -> None:
    """Remember only that this chat was asked for with `store: false`."""
    row = UnstoredRow(completion_id=completion_id, tenant=tenant, created_ms=now_ms())
    session.execute(insert(_unstored), row.model_dump())


def complete(session: Session, tenant: str, cleared: Cleared[TurnCompleted]) -> bool:
    """Close an open completion: body, event, and the events of feedback that came meanwhile.

    False when it is not open.
    """
    turn = cleared.value
    mine = _completion.c.completion_id == turn.completion_id
    if session.execute(select(_completion.c.status).where(mine)).scalar_one_or_none() != "open":
        return False
    sealed, _ = seal(session, tenant, cleared)
    ended = {"status": turn.status, "finished_ms": turn.finished_ms, "body": sealed.box}
    session.execute(update(_completion).where(mine).values(ended))
    append_events(session, [wrap(sealed, tenant=tenant, event_id=f"{turn.completion_id}/turn")])
    flush_pending(session, turn.completion_id)
    return True


def with_ids(completion_ids: Sequence[str]) -> ColumnElement[bool]:
    """These completions."""
    return _completion.c.completion_id.in_(completion_ids)


def left_by_earlier_lives(owner: Owner) -> ColumnElement[bool]:
    """The completions of processes that this one has replaced: nobody else closes them."""
    column = _completion.c.owner
    return column.is_(None) | (owner.replica_is_in(column) & ~owner.is_in(column))


def lose(session: Session, which: ColumnElement[bool]) -> int:
    """Mark those of them that are open as lost, and tell their feedback; returns how many."""
    statement = (
        update(_completion)
        .where(which, _completion.c.status == "open")
        .values(status="lost", finished_ms=now_ms())
        .returning(_completion.c.completion_id)
    )
    lost = list(session.execute(statement).scalars())
    for completion_id in lost:
        flush_pending(session, completion_id)
    return len(lost)
