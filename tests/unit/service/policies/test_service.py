"""Versions come in verified, go live one at a time, are taken back and let go, and a restart finds all as it was."""

import asyncio
import shutil

import msgspec
import pytest
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session
from tests.adapters import published
from tests.unit.service.policies.conftest import Wheel
from tests.waiting import eventually

from thumbwheel.bus import Record
from thumbwheel.events import PolicyRejected, PolicyRouted, encode, now_ms, wrap
from thumbwheel_service.engine.protocol import EngineDown
from thumbwheel_service.errors import Unavailable
from thumbwheel_service.policies.follower import PolicyFollower
from thumbwheel_service.policies.loaded import NotServable, UnknownVersion
from thumbwheel_service.policies.service import NothingToRollBack


async def settle(wheel: Wheel) -> None:
    for _ in range(200):
        await asyncio.sleep(0.005)
        if not wheel.policies._loaded._leaving:
            return


async def test_a_published_version_goes_live(wheel: Wheel) -> None:
    await wheel.offer("v1")
    assert wheel.router.live.version == "v1"
    assert wheel.engine.loaded() == ["v1@1"]
    row = wheel.row("v1")
    assert (row.state, row.parent, row.reason) == ("live", "base", None)
    assert row.swap_seconds is not None
    (event,) = wheel.events()
    assert isinstance(event, PolicyRouted)
    assert (event.version, event.previous, event.epoch, event.reason) == ("v1", "base", 1, "published")
    listed = await wheel.policies.list()
    assert (listed.live, listed.epoch) == ("v1", 1)
    assert [(p.version, p.state) for p in listed.policies] == [("v1", "live"), ("base", "loaded")]
    assert listed.policies[0].lineage["parent"] == "base"


async def test_a_clock_that_was_put_back_keeps_no_version_from_going_live(wheel: Wheel) -> None:
    for version, created_ms in (("v1", now_ms() + 3_600_000), ("v2", now_ms())):
        wheel.write(version)
        event = msgspec.structs.replace(published(wheel.store, version), created_ms=created_ms)
        await wheel.policies.published(event)
        assert wheel.router.live.version == version
    assert [policy.version for policy in (await wheel.policies.list()).policies] == ["v2", "v1", "base"]


async def test_the_engine_gets_a_copy_of_its_own(wheel: Wheel) -> None:
    await wheel.offer("v1")
    shutil.rmtree(wheel.store)
    assert (wheel.engine.adapters["v1@1"] / "adapter_model.safetensors").is_file()


async def test_an_event_that_comes_again_changes_nothing(wheel: Wheel) -> None:
    await wheel.offer("v1")
    await wheel.offer("v2")
    await wheel.policies.published(published(wheel.store, "v1"))
    assert wheel.router.live.version == "v2"
    assert (await wheel.policies.list()).epoch == 2
    assert wheel.engine.every_load == ["v1@1", "v2@2"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        pytest.param({"key": b"x" * 64}, "signature", id="signed with another key"),
        pytest.param({"base_model": "0" * 64}, "another base model", id="another base"),
        pytest.param({"rank": 3}, "rank 3", id="another rank"),
        pytest.param({"files": {"adapter_config.json": "0" * 64}}, "lists", id="files missing from the manifest"),
    ],
)
async def test_a_flawed_version_is_rejected_with_its_reason(wheel: Wheel, fields: dict, reason: str) -> None:
    await wheel.offer("good")
    await wheel.offer("bad", **fields)
    assert wheel.router.live.version == "good"
    assert wheel.row("bad").state == "rejected"
    assert reason in (wheel.row("bad").reason or "")
    assert [e.reason for e in wheel.events() if isinstance(e, PolicyRejected)] == [wheel.row("bad").reason]
    assert [path.name for path in (wheel.folder / "private").iterdir()] == ["000001"]
    assert wheel.metrics.policy_rejections._value.get() == 1


@pytest.mark.parametrize("name", ["base", "thumbwheel", "has space", "-dash"])
async def test_some_names_are_not_for_versions(wheel: Wheel, name: str) -> None:
    await wheel.offer(name, artifact=None)
    assert wheel.row(name).state == "rejected"
    assert wheel.router.live.version == "base"


async def test_a_version_outside_the_store_is_rejected(wheel: Wheel) -> None:
    folder = wheel.write("v1")
    event = published(wheel.store, "v1")
    outside = wheel.folder / "outside"
    folder.rename(outside)
    folder.symlink_to(outside)
    await wheel.policies.published(event)
    assert "not a plain path" in (wheel.row("v1").reason or "")


async def test_a_manifest_that_changed_since_it_was_published_is_rejected(wheel: Wheel) -> None:
    wheel.write("v1")
    event = published(wheel.store, "v1")
    wheel.write("v1", created_ms=1)
    await wheel.policies.published(event)
    assert "not the one that was published" in (wheel.row("v1").reason or "")


@pytest.mark.parametrize("where", ["refuse_load", "refuse_probe"])
async def test_what_the_engine_refuses_is_rejected(wheel: Wheel, where: str) -> None:
    setattr(wheel.engine, where, "it does not like it")
    await wheel.offer("v1")
    assert wheel.row("v1").reason == "it does not like it"
    assert wheel.engine.loaded() == []
    assert wheel.router.live.version == "base"


async def test_an_outage_is_no_verdict(wheel: Wheel) -> None:
    wheel.engine.die()
    with pytest.raises(EngineDown):
        await wheel.offer("v1")
    assert wheel.row("v1").state == "published"
    await wheel.engine.start()
    await wheel.policies.published(published(wheel.store, "v1"))
    assert wheel.router.live.version == "v1"


async def test_a_version_is_unloaded_only_when_its_last_chat_has_ended(wheel: Wheel) -> None:
    await wheel.offer("v0")
    lease = wheel.router.lease(None)
    for i in range(1, 4):
        await wheel.offer(f"v{i}")
    await settle(wheel)
    assert "v0@1" in wheel.engine.loaded()
    assert [s.version for s in wheel.router.public()] == ["base", "v1", "v2", "v3"]
    lease.release()
    await settle(wheel)
    assert wheel.engine.loaded() == ["v1@2", "v2@3", "v3@4"]
    assert wheel.row("v0").state == "retired"
    assert sorted(path.name for path in (wheel.folder / "private").iterdir()) == ["000002", "000003", "000004"]


async def test_a_rollback_goes_back_and_not_forth(wheel: Wheel) -> None:
    await wheel.offer("v1")
    await wheel.offer("v2", parent="v1")
    assert (await wheel.policies.rollback(None)).live == "v1"
    assert (wheel.row("v2").state, wheel.row("v2").reason) == ("loaded", "rolled back")
    assert (await wheel.policies.rollback(None)).live == "base"
    with pytest.raises(NothingToRollBack, match="no policy before it"):
        await wheel.policies.rollback(None)
    assert (await wheel.policies.rollback("v2")).live == "v2"
    assert wheel.row("v2").state == "live"
    event = wheel.events()[-1]
    assert isinstance(event, PolicyRouted)
    assert (event.version, event.previous, event.reason, event.epoch) == ("v2", "base", "rollback", 5)


async def test_a_retired_version_is_loaded_again_under_a_new_name(wheel: Wheel) -> None:
    for i in range(5):
        await wheel.offer(f"v{i}")
    await settle(wheel)
    assert wheel.row("v0").state == "retired"
    await wheel.policies.rollback("v0")
    assert wheel.router.live.engine_name == "v0@6"
    assert wheel.row("v0").state == "live"


async def test_one_cannot_go_to_what_is_not_there(wheel: Wheel) -> None:
    await wheel.offer("bad", base_model="0" * 64)
    with pytest.raises(UnknownVersion):
        await wheel.policies.rollback("nobody")
    with pytest.raises(NotServable, match="another base model"):
        await wheel.policies.promote("bad")
    assert wheel.router.live.version == "base"


async def test_a_manual_version_waits(wheel: Wheel) -> None:
    await wheel.offer("v1", promote="manual")
    assert wheel.row("v1").state == "loaded"
    assert wheel.router.live.version == "base"
    assert "v1" not in [s.version for s in wheel.router.public()]
    assert (await wheel.policies.promote("v1")).live == "v1"


async def test_a_manual_service_lets_nothing_go_live_by_itself(wheel: Wheel) -> None:
    manual = await wheel.restart("manual")
    await manual.offer("v1")
    assert manual.router.live.version == "base"
    await manual.close()


async def test_a_restart_serves_what_was_live(wheel: Wheel) -> None:
    await wheel.offer("v1")
    await wheel.offer("v2")
    again = await wheel.restart()
    assert again.router.live.version == "v2"
    assert sorted(s.version for s in again.router.public()) == ["base", "v1", "v2"]
    assert (await again.policies.list()).epoch == 2
    await again.policies.published(published(again.store, "v1"))
    assert again.router.live.version == "v2"
    await again.close()


async def test_a_restart_keeps_a_rollback(wheel: Wheel) -> None:
    await wheel.offer("v1")
    await wheel.offer("v2", parent="v1")
    await wheel.policies.rollback(None)
    again = await wheel.restart()
    for version in ("v1", "v2"):
        await again.policies.published(published(again.store, version))
    assert again.router.live.version == "v1"
    await again.close()


async def test_a_restart_without_the_live_artifact_falls_back(wheel: Wheel) -> None:
    await wheel.offer("v1")
    await wheel.offer("v2")
    shutil.rmtree(wheel.store / "v2")
    again = await wheel.restart()
    assert again.router.live.version == "v1"
    assert again.row("v2").state == "retired"
    event = again.events()[-1]
    assert isinstance(event, PolicyRouted)
    assert (event.version, event.reason) == ("v1", "fallback")
    assert again.metrics.policy_rejections._value.get() == 1
    shutil.rmtree(wheel.store / "v1")
    last = await again.restart()
    assert last.router.live.version == "base"
    await last.close()


async def test_a_restart_in_the_middle_of_loading_loads_again(wheel: Wheel) -> None:
    wheel.engine.die()
    with pytest.raises(EngineDown):
        await wheel.offer("v1")
    again = await wheel.restart()
    await again.policies.published(published(again.store, "v1"))
    assert again.router.live.version == "v1"
    await again.close()


async def test_the_route_stays_when_its_move_is_not_written(wheel: Wheel) -> None:
    await wheel.offer("v1", promote="manual")
    with Session(wheel.database) as session:
        session.connection().exec_driver_sql("ALTER TABLE log RENAME TO away")
        session.commit()
    with pytest.raises((Unavailable, DBAPIError)):
        await wheel.policies.promote("v1")
    assert wheel.router.live.version == "base"
    with Session(wheel.database) as session:
        session.connection().exec_driver_sql("ALTER TABLE away RENAME TO log")
        session.commit()
    assert (await wheel.policies.promote("v1")).epoch == 1


async def test_the_follower_waits_out_an_outage_and_skips_what_it_does_not_understand(wheel: Wheel) -> None:
    wheel.write("v1")
    event = published(wheel.store, "v1")
    records = [
        Record("thumbwheel.policies", 0, 0, "x", b'{"event_id":"not text: \xff"}'),
        Record("thumbwheel.policies", 0, 1, "published/v1", encode(wrap(event))),
    ]

    async def follow():
        for record in records:
            yield record

    wheel.engine.die()
    task = asyncio.get_running_loop().create_task(PolicyFollower(wheel.policies, follow, wheel.metrics).run())
    await asyncio.sleep(0.1)
    assert wheel.router.live.version == "base"
    await wheel.engine.start()
    await asyncio.wait_for(task, 5)
    assert wheel.router.live.version == "v1"
    assert b'records_skipped_total{topic="thumbwheel.policies"} 1.0' in wheel.metrics.exposition()[0]


async def test_a_record_that_the_database_cannot_hold_does_not_keep_back_the_next(wheel: Wheel) -> None:
    for version in ("v1", "v2"):
        wheel.write(version)
    poison = msgspec.structs.replace(published(wheel.store, "v1"), created_ms=2**63)

    async def follow():
        for offset, event in enumerate((poison, published(wheel.store, "v2"))):
            yield Record("thumbwheel.policies", 0, offset, f"published/{event.version}", encode(wrap(event)))

    follower = PolicyFollower(wheel.policies, follow, wheel.metrics, retry_seconds=0.01)
    await asyncio.wait_for(follower.run(), 5)
    assert wheel.router.live.version == "v2"
    assert b'records_skipped_total{topic="thumbwheel.policies"} 1.0' in wheel.metrics.exposition()[0]


async def test_a_replica_takes_the_route_that_another_has_moved(wheel: Wheel) -> None:
    other = Wheel(wheel.folder, wheel.database, private="other")
    await other.policies.restore()
    await wheel.offer("v1")
    moved = wheel.events()[-1]
    assert isinstance(moved, PolicyRouted)

    await other.policies.published(published(wheel.store, "v1"))
    assert other.router.live.version == "base"
    await other.policies.routed(moved)
    assert other.router.live.version == "v1"
    await other.policies.routed(moved)
    await wheel.policies.routed(moved)
    assert (await wheel.policies.list()).epoch == 1
    assert wheel.engine.every_load == ["v1@1"]
    await other.close()


async def test_a_slow_replica_neither_moves_the_route_again_nor_undoes_a_rollback(wheel: Wheel) -> None:
    other = Wheel(wheel.folder, wheel.database, private="other")
    await other.policies.restore()
    other.engine.probe_after = asyncio.Event()
    wheel.write("v1")
    offered = published(wheel.store, "v1")
    late = asyncio.create_task(other.policies.published(offered))
    await eventually(lambda: other.engine.every_load)
    await wheel.policies.published(offered)
    await wheel.policies.rollback(None)
    other.engine.probe_after.set()
    await late
    (route,) = [event for event in wheel.events() if isinstance(event, PolicyRouted)]
    assert (route.version, route.epoch) == ("base", 2)
    await other.policies.routed(route)
    assert (other.router.live.version, (await other.policies.list()).epoch) == ("base", 2)
    assert len(other.engine.every_load) == 1
    await other.close()
