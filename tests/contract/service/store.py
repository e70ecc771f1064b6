"""Puts turns into a service database and looks at what became of feedback."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Engine, insert, select, update
from sqlmodel import Session, SQLModel
from tests.contract.service.feedback_model import recorded, turn

from thumbwheel.events import FEEDBACK, FeedbackRecorded
from thumbwheel_service.db.tables import LogRow
from thumbwheel_service.feedback.repository import flush_pending
from thumbwheel_service.turns.repository import encode_body

T = TypeVar("T")
_completion = SQLModel.metadata.tables["completion"]


def write(database: Engine, unit: Callable[[Session], T]) -> T:
    """One durable transaction, as the writer makes them."""
    with (
        database.connect().execution_options(writes=True) as connection,
        Session(connection, autoflush=False, expire_on_commit=False) as session,
        session.begin(),
    ):
        return unit(session)


def open_turn(
    session: Session,
    tenant: str,
    completion_id: str,
    *,
    conversation: str = "conv",
    n: int = 2,
    owner: str | None = "r/1",
) -> None:
    row = {
        "completion_id": completion_id,
        "tenant": tenant,
        "conversation_id": conversation,
        "policy_version": "v1",
        "model": "m",
        "status": "open",
        "origin": "chat",
        "n": n,
        "routing_propensity": 1.0,
        "owner": owner,
        "created_ms": 1000,
    }
    session.execute(insert(_completion), row)


def end_turn(session: Session, completion_id: str, *, conversation: str = "conv") -> int:
    """What the chat recorder does when the last token is there."""
    body = encode_body(turn(completion_id, conversation=conversation))
    change = {"status": "complete", "finished_ms": 2000, "body": body}
    session.execute(update(_completion).where(_completion.c.completion_id == completion_id).values(change))
    return flush_pending(session, completion_id)


def events(session: Session) -> list[FeedbackRecorded]:
    """Every feedback event, oldest first per piece of feedback."""
    rows = session.execute(
        select(LogRow.value).where(LogRow.topic == FEEDBACK.name).order_by(LogRow.partition, LogRow.offset)
    )
    return [recorded(value) for value in rows.scalars()]
