"""Puts turns into a service database and looks at what became of feedback."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Engine, insert, select, update
from sqlmodel import SQLModel
from tests.contract.service.feedback_model import turn
from tests.keyrings import keyring_beside, opened, store_beside

from thumbwheel.events import FEEDBACK, FeedbackRecorded
from thumbwheel_service.db.session import Session
from thumbwheel_service.db.tables import LogRow
from thumbwheel_service.feedback.repository import flush_pending
from thumbwheel_service.redaction.cleared import Cleared
from thumbwheel_service.turns.repository import seal

T = TypeVar("T")
_completion = SQLModel.metadata.tables["completion"]


def write(database: Engine, unit: Callable[[Session], T]) -> T:
    """One durable transaction, as the writer makes them."""
    with (
        database.connect().execution_options(writes=True) as connection,
        Session(connection, keyring_beside(database)) as session,
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
    tenant = session.execute(
        select(_completion.c.tenant).where(_completion.c.completion_id == completion_id)
    ).scalar_one()
    sealed, _ = seal(session, tenant, Cleared(turn(completion_id, conversation=conversation)))
    change = {"status": "complete", "finished_ms": 2000, "body": sealed.box}
    session.execute(update(_completion).where(_completion.c.completion_id == completion_id).values(change))
    return flush_pending(session, completion_id)


def events(session: Session) -> list[FeedbackRecorded]:
    """Every feedback event, oldest first per piece of feedback."""
    rows = session.execute(
        select(LogRow.value).where(LogRow.topic == FEEDBACK.name).order_by(LogRow.partition, LogRow.offset)
    )
    told = [opened(value, store_beside(_engine(session))) for value in rows.scalars()]
    return [event for event in told if isinstance(event, FeedbackRecorded)]


def _engine(session: Session) -> Engine:
    return session.connection().engine
