"""Policy versions and the live route in the database; events go out in the same transaction."""

import msgspec
from sqlalchemy import func, select
from sqlmodel import Session, col

from thumbwheel.artifact import Manifest
from thumbwheel.events import PolicyPublished, PolicyRejected, PolicyRouted, now_ms, wrap
from thumbwheel.types import PolicyVersion
from thumbwheel_service.db.tables import PolicyRow, RouteRow
from thumbwheel_service.engine.protocol import BASE
from thumbwheel_service.log.append import append_events

_manifest_decoder = msgspec.json.Decoder(Manifest)


def route(session: Session) -> RouteRow:
    """The live route; the first call of a database's life makes it, to the base model."""
    row = session.get(RouteRow, 1, populate_existing=True)
    if row is None:
        row = RouteRow(id=1, version=BASE, previous=BASE, epoch=0, moved_ms=now_ms())
        session.add(row)
        session.flush()
    return row


def peek_route(session: Session) -> RouteRow:
    """The live route, for readers."""
    row = session.get(RouteRow, 1, populate_existing=True)
    return row if row is not None else RouteRow(id=1, version=BASE, previous=BASE, epoch=0, moved_ms=0)


def find(session: Session, version: str) -> PolicyRow | None:
    """A version's row."""
    return session.get(PolicyRow, version, populate_existing=True)


def everything(session: Session) -> list[PolicyRow]:
    """All versions, newest first."""
    statement = select(PolicyRow).order_by(col(PolicyRow.number).desc())
    return list(session.execute(statement).scalars())


def insert_published(session: Session, event: PolicyPublished) -> None:
    """A version is known, and nothing more yet."""
    moment = now_ms()
    before = session.execute(select(func.max(PolicyRow.number))).scalar_one() or 0
    session.add(
        PolicyRow(
            version=event.version,
            number=before + 1,
            artifact=event.artifact,
            state="published",
            promote=event.promote,
            created_ms=event.created_ms,
            updated_ms=moment,
        )
    )


def set_loaded(session: Session, version: str, manifest: Manifest) -> None:
    """The version is in the engine and has answered a probe; a live one stays live."""
    row = session.get_one(PolicyRow, version)
    row.updated_ms = now_ms()
    if row.state not in ("live", "rejected"):
        row.state = "loaded"
    row.parent = manifest.parent
    row.manifest = msgspec.json.encode(manifest).decode()


def set_state(session: Session, version: str, state: str, reason: str | None = None) -> None:
    """Note what became of a version; the base has no row."""
    row = session.get(PolicyRow, version, populate_existing=True)
    if row is not None:
        row.state, row.reason, row.updated_ms = state, reason, now_ms()


def reject(session: Session, version: str, reason: str) -> None:
    """The version is refused for good, and everyone is told."""
    set_state(session, version, "rejected", reason)
    event = PolicyRejected(version=version, reason=reason, created_ms=now_ms())
    append_events(session, [wrap(event, event_id=f"policy/{version}/rejected")])


def move_route(session: Session, version: str, *, back_to: str, reason: str, seconds: float) -> RouteRow:
    """Make a version live: route, states and event. `back_to` is where a plain rollback would go from here."""
    row = route(session)
    replaced = row.version
    row.version, row.previous = version, back_to
    row.epoch, row.moved_ms = row.epoch + 1, now_ms()
    old = find(session, replaced)
    if old is not None and old.state == "live":
        set_state(session, replaced, "loaded", "rolled back" if reason == "rollback" else None)
    set_state(session, version, "live")
    promoted = session.get(PolicyRow, version)
    if promoted is not None and promoted.swap_seconds is None:
        promoted.swap_seconds = seconds
    event = PolicyRouted(
        version=version,
        previous=replaced,
        epoch=row.epoch,
        reason=reason,
        seconds=seconds,
        created_ms=row.moved_ms,
    )
    append_events(session, [wrap(event, event_id=f"policy/route/{row.epoch}")])
    session.flush()
    return row


def to_version(row: PolicyRow) -> PolicyVersion:
    """The version as the API lists it."""
    manifest = _manifest_decoder.decode(row.manifest) if row.manifest != "{}" else None
    lineage = {}
    if manifest is not None:
        lineage = {
            "parent": manifest.parent,
            "base_model": manifest.base_model,
            "rank": manifest.rank,
            "snapshot": manifest.snapshot,
            "reward_model": manifest.reward_model,
        }
    return PolicyVersion(
        version=row.version,
        state=row.state,  # pyright: ignore[reportArgumentType] - the column holds nothing else
        parent=row.parent,
        created_ms=row.created_ms,
        reason=row.reason,
        metrics=manifest.metrics if manifest is not None else {},
        verdict=manifest.verdict if manifest is not None else {},
        lineage=lineage,
        swap_seconds=row.swap_seconds,
    )
