"""What was published against what the service made of it: each version whole, known and taken, the last one live."""

import asyncio
import time
from pathlib import Path
from typing import NamedTuple

from sqlmodel import col, select

from thumbwheel import AsyncClient
from thumbwheel.artifact import ArtifactError, read_verified, signing_key
from thumbwheel.types import PolicyList
from thumbwheel_learner.store.session import connect, reading
from thumbwheel_learner.store.tables import VersionRow


class Versions(NamedTuple):
    """How publishing went."""

    announced: int
    unknown: list[str]
    """Announced, and the service has never heard of them."""
    untold: list[str]
    """Known to the service, and never announced."""
    rejected: list[str]
    damaged: list[str]
    """Announced, and not whole in the artifact store."""
    live: str
    last: str

    def is_clean(self) -> bool:
        return self.last == self.live and not (self.unknown or self.untold or self.rejected or self.damaged)


def compare(announced: list[str], told: PolicyList, store: Path, key: bytes) -> Versions:
    """`announced` in order of publication."""
    known = {policy.version: policy.state for policy in told.policies if policy.version != "base"}
    return Versions(
        announced=len(announced),
        unknown=[version for version in announced if version not in known],
        untold=sorted(known.keys() - set(announced)),
        rejected=[version for version, state in known.items() if state == "rejected"],
        damaged=[version for version in announced if not _is_whole(store, version, key)],
        live=told.live,
        last=announced[-1] if announced else told.live,
    )


def published(publishers_store: str) -> list[str]:
    """The versions that are out, in order; `written` ones may be."""
    statement = (
        select(VersionRow.version)
        .where(col(VersionRow.state).in_(("announced", "written")))
        .order_by(col(VersionRow.number))
    )
    engine = connect(publishers_store)
    with reading(engine) as session:
        found = list(session.exec(statement).all())
    engine.dispose()
    return found


def is_settled(publishers_store: str, some: int) -> bool:
    """At least `some` are out, and none is left between its files and its announcement by a publisher that died."""
    engine = connect(publishers_store)
    with reading(engine) as session:
        states = list(session.exec(select(VersionRow.state)).all())
    engine.dispose()
    return states.count("announced") >= some and "written" not in states


async def follow(client: AsyncClient, publishers_store: str, data: Path, seconds: float) -> Versions:
    """Compare once the service has caught up with everything, or when the time is over; nobody publishes any more."""
    announced = published(publishers_store)
    deadline = time.monotonic() + seconds
    while True:
        told = await client.policies.list()
        found = compare(announced, told, data / "artifacts", signing_key(data / "signing.key"))
        if found.is_clean() or time.monotonic() > deadline:
            return found
        await asyncio.sleep(0.5)


def _is_whole(store: Path, version: str, key: bytes) -> bool:
    try:
        read_verified(store, version, key)
    except ArtifactError:
        return False
    return True
