"""With several replicas a published version goes live when all that live have it, and not before."""

from collections.abc import AsyncIterator

import pytest
from tests.adapters import published
from tests.contract.service.store import write
from tests.unit.service.policies.conftest import Wheel
from tests.waiting import eventually

from thumbwheel.events import PolicyPublished, PolicyRouted, now_ms
from thumbwheel_service.db.tables import ProcessRow


def lives(wheel: Wheel, *, seconds: float = 3600.0, owner: str = "") -> None:
    """As `chat.presence` says it."""
    row = ProcessRow(owner=owner or str(wheel.owner), until_ms=now_ms() + int(seconds * 1000))
    write(wheel.database, lambda session: session.merge(row))


@pytest.fixture
async def other(wheel: Wheel) -> AsyncIterator[Wheel]:
    """A second replica on the same database, which lives as the first does."""
    other = Wheel(wheel.folder, wheel.database, private="other")
    await other.policies.restore()
    for replica in (wheel, other):
        lives(replica)
    yield other
    await other.close()


def offer(wheel: Wheel, version: str) -> PolicyPublished:
    wheel.write(version)
    return published(wheel.store, version)


def routes(wheel: Wheel) -> list[str]:
    return [event.version for event in wheel.events() if isinstance(event, PolicyRouted)]


async def test_the_route_moves_when_the_last_replica_has_probed(wheel: Wheel, other: Wheel) -> None:
    event = offer(wheel, "v1")
    await wheel.policies.published(event)
    assert (wheel.router.live.version, wheel.row("v1").state) == ("base", "loaded")
    assert wheel.row("v1").reason == f"waits for {other.owner}"
    await other.policies.published(event)
    assert (other.router.live.version, wheel.row("v1").state, wheel.row("v1").reason) == ("v1", "live", None)
    await wheel.policies.routed([e for e in wheel.events() if isinstance(e, PolicyRouted)][-1])
    assert wheel.router.live.version == "v1"
    assert routes(wheel) == ["v1"]
    assert wheel.engine.every_load == other.engine.every_load == ["v1@1"]


async def test_a_replica_that_dies_is_waited_for_no_longer_than_its_lease(wheel: Wheel, other: Wheel) -> None:
    await wheel.policies.published(offer(wheel, "v1"))
    assert wheel.router.live.version == "base"
    lives(other, seconds=-1)
    await eventually(lambda: wheel.router.live.version == "v1")
    assert routes(wheel) == ["v1"]


async def test_earlier_lives_of_the_same_replica_are_not_waited_for(wheel: Wheel) -> None:
    lives(wheel, owner=f"{wheel.owner.replica}/before")
    await wheel.policies.published(offer(wheel, "v1"))
    assert wheel.router.live.version == "v1"


async def test_what_one_replica_refuses_goes_live_nowhere(wheel: Wheel, other: Wheel) -> None:
    event = offer(wheel, "v1")
    await wheel.policies.published(event)
    other.engine.refuse_load = "no room"
    await other.policies.published(event)
    await eventually(lambda: wheel.engine.loaded() == [])
    assert (wheel.row("v1").state, wheel.row("v1").reason) == ("rejected", "no room")
    lives(other, seconds=-1)
    assert (wheel.router.live.version, routes(wheel)) == ("base", [])


async def test_a_newer_version_that_goes_live_takes_the_place_of_one_that_waits(wheel: Wheel, other: Wheel) -> None:
    first = offer(wheel, "v1")
    await wheel.policies.published(first)
    second = offer(wheel, "v2")
    for replica in (wheel, other):
        await replica.policies.published(second)
    assert routes(wheel) == ["v2"]
    lives(other, seconds=-1)
    await wheel.policies.routed([e for e in wheel.events() if isinstance(e, PolicyRouted)][-1])
    await eventually(lambda: wheel.policies._proposed == {})
    assert (wheel.router.live.version, routes(wheel)) == ("v2", ["v2"])


async def test_a_person_need_not_wait(wheel: Wheel, other: Wheel) -> None:
    await wheel.policies.published(offer(wheel, "v1"))
    assert wheel.router.live.version == "base"
    assert (await wheel.policies.promote("v1")).live == "v1"
    await eventually(lambda: wheel.policies._proposed == {})
    assert routes(wheel) == ["v1"]


async def test_a_restart_while_others_are_waited_for_goes_on_waiting(wheel: Wheel, other: Wheel) -> None:
    event = offer(wheel, "v1")
    await wheel.policies.published(event)
    again = await wheel.restart()
    lives(again)
    await again.policies.published(event)
    assert (again.router.live.version, again.row("v1").state) == ("base", "loaded")
    await other.policies.published(event)
    assert other.router.live.version == "v1"
    await again.close()
