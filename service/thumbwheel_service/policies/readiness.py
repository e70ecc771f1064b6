"""A published version goes live when every replica has it: who has probed which, and who is still waited for."""

from sqlalchemy import delete, or_, select, text
from sqlmodel import Session

from thumbwheel_service.db.clock import database_ms
from thumbwheel_service.db.tables import PolicyProbeRow, PolicyRow, ProcessRow, RouteRow, table_of
from thumbwheel_service.owner import Owner

_probe = table_of(PolicyProbeRow)
_process = table_of(ProcessRow)
_policy = table_of(PolicyRow)
_NOTE = text("INSERT INTO policy_probe (version, owner) VALUES (:version, :owner) ON CONFLICT DO NOTHING")


def note(session: Session, version: str, owner: Owner) -> None:
    """This process has the version in its engine, and it has answered."""
    session.execute(_NOTE, {"version": version, "owner": str(owner)})


def missing(session: Session, version: str, owner: Owner) -> list[str]:
    """Other replicas that live (`chat.presence`) and have not probed the version."""
    probed = select(_probe.c.owner).where(_probe.c.version == version)
    statement = select(_process.c.owner).where(
        _process.c.until_ms > database_ms(session),
        ~owner.replica_is_in(_process.c.owner),
        _process.c.owner.not_in(probed),
    )
    return sorted(session.execute(statement).scalars())


def is_passed(session: Session, version: str) -> bool:
    """Whether it needs no route any more: it was live once, is rejected, or a newer one is live."""
    row = session.get_one(PolicyRow, version, populate_existing=True)
    route = session.get(RouteRow, 1, populate_existing=True)
    live = session.get(PolicyRow, route.version, populate_existing=True) if route is not None else None
    newer = live is not None and live.number > row.number
    return row.swap_seconds is not None or row.state == "rejected" or newer


def forget(session: Session) -> None:
    """What is known of versions that nobody waits for any more."""
    settled = select(_policy.c.version).where(
        or_(_policy.c.swap_seconds.is_not(None), _policy.c.state.in_(("retired", "rejected")))
    )
    session.execute(delete(_probe).where(_probe.c.version.in_(settled)))
