"""Moves of the route, as units of the writer: who may make one, and when."""

import time
from typing import NamedTuple

from sqlmodel import Session

from thumbwheel_service.owner import Owner
from thumbwheel_service.policies import readiness, repository


class Moved(NamedTuple):
    """The route has gone to another version."""

    epoch: int
    seconds: float


class Waiting(NamedTuple):
    """Other processes do not have the version in their engines yet."""

    owners: list[str]

    def __str__(self) -> str:
        return ", ".join(self.owners)


def move(session: Session, version: str, *, back_to: str, reason: str, begun: float) -> Moved:
    """The route goes to the version; `begun`, of the monotonic clock, is since when it was under way."""
    seconds = time.monotonic() - begun
    row = repository.move_route(session, version, back_to=back_to, reason=reason, seconds=seconds)
    readiness.forget(session)
    return Moved(row.epoch, seconds)


def publish(session: Session, version: str, owner: Owner, *, back_to: str, begun: float) -> Moved | Waiting | None:
    """The same for what was published, if every replica that lives has it in its engine.

    None when nobody waits for it: another replica was faster, and perhaps somebody has gone back since.
    """
    if readiness.is_passed(session, version):
        return None
    owners = readiness.missing(session, version, owner)
    if not owners:
        return move(session, version, back_to=back_to, reason="published", begun=begun)
    waiting = Waiting(owners)
    repository.set_state(session, version, "loaded", f"waits for {waiting}")
    return waiting
