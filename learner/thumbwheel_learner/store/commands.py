"""What operators have asked for: pending demands for a run, and whether runs are paused."""

from typing import NamedTuple

from sqlalchemy import Engine
from sqlmodel import col, select

from thumbwheel.events import now_ms
from thumbwheel_learner.store.session import reading
from thumbwheel_learner.store.tables import CommandRow

STALE_MS = 3_600_000
"""A demand this old was meant for a learner that was not there; it is dropped."""


class Demand(NamedTuple):
    """Somebody wants a run now; several demands are one, of the stages that the last one named."""

    stages: tuple[str, ...]
    """In the order of a run; empty: all that are configured."""
    created_ms: int


def is_paused(engine: Engine) -> bool:
    """Whether the last word was pause rather than resume."""
    with reading(engine) as session:
        last = session.exec(
            select(CommandRow.command)
            .where(col(CommandRow.command).in_(("pause", "resume")))
            .order_by(col(CommandRow.created_ms).desc(), col(CommandRow.event_id).desc())
        ).first()
    return last == "pause"


def pending_demand(engine: Engine) -> Demand | None:
    """The newest demand that nobody has answered yet."""
    with reading(engine) as session:
        row = session.exec(
            select(CommandRow)
            .where(
                CommandRow.command == "now",
                col(CommandRow.handled).is_(False),
                CommandRow.created_ms > now_ms() - STALE_MS,
            )
            .order_by(col(CommandRow.created_ms).desc(), col(CommandRow.event_id).desc())
        ).first()
    if row is None:
        return None
    asked = row.stages.split(",") if row.stages else []
    return Demand(tuple(stage for stage in ("reward", "sft", "ppo") if stage in asked), row.created_ms)
