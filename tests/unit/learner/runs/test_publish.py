from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlmodel import select
from tests.learner_fakes import MemoryBus, fake_adapter

from thumbwheel.artifact import MANIFEST, OutsideStore, read_verified, sha256_file
from thumbwheel.bus import BusUnavailable
from thumbwheel.events import POLICIES, PolicyPublished, decode
from thumbwheel_learner.runs import publish as publishing
from thumbwheel_learner.runs.publish import Provenance, Publisher, PublishFailed, describe, write_artifact
from thumbwheel_learner.store.session import reading
from thumbwheel_learner.store.tables import VersionRow

KEY = b"k" * 64
FROM = Provenance("base", "f" * 64, {"hash": "h"}, {"id": "r"}, {"kl": 0.1}, {"accepted": True})


@pytest.fixture
def bus() -> MemoryBus:
    return MemoryBus()


@pytest.fixture
def publisher(engine: Engine, bus: MemoryBus, tmp_path: Path) -> Publisher:
    (tmp_path / "store").mkdir()
    return Publisher(engine, bus, store=tmp_path / "store", key=KEY, promote="auto")


def events(bus: MemoryBus) -> list[PolicyPublished]:
    found = [decode(record.value).event for record in bus.events(POLICIES.name)]
    return [event for event in found if isinstance(event, PolicyPublished)]


def states(engine: Engine) -> dict[str, str]:
    with reading(engine) as session:
        return {row.version: row.state for row in session.exec(select(VersionRow))}


def test_a_published_artifact_is_signed_complete_and_announced(
    publisher: Publisher, bus: MemoryBus, tmp_path: Path, engine: Engine
) -> None:
    adapter = fake_adapter(tmp_path / "adapter")
    version = publisher.publish("run-1", adapter, FROM)
    folder, manifest = read_verified(tmp_path / "store", version, KEY)
    assert version == f"v1-{sha256_file(adapter / 'adapter_model.safetensors')[:8]}"
    assert (manifest.parent, manifest.rank, manifest.base_model) == ("base", 8, "f" * 64)
    assert (manifest.snapshot, manifest.verdict) == ({"hash": "h"}, {"accepted": True})
    [event] = events(bus)
    assert (event.version, event.artifact, event.promote) == (version, version, "auto")
    assert event.manifest_sha256 == sha256_file(folder / MANIFEST)
    assert states(engine) == {version: "announced"}
    assert [path.name for path in (tmp_path / "store").iterdir()] == [version]


def test_publishing_a_run_again_keeps_its_version_and_its_event_id(
    publisher: Publisher, bus: MemoryBus, tmp_path: Path
) -> None:
    adapter = fake_adapter(tmp_path / "adapter")
    first = publisher.publish("run-1", adapter, FROM)
    assert publisher.publish("run-1", adapter, FROM) == first
    ids = {decode(record.value).event_id for record in bus.events(POLICIES.name)}
    assert ids == {f"published-{first}"}


def test_version_numbers_rise_and_are_never_used_twice(publisher: Publisher, tmp_path: Path) -> None:
    names = [publisher.publish(f"run-{i}", fake_adapter(tmp_path / f"a{i}", b"%d" % i), FROM) for i in range(3)]
    assert [name.split("-")[0] for name in names] == ["v1", "v2", "v3"]


def test_a_bus_that_is_away_leaves_a_whole_artifact_that_is_announced_after_the_restart(
    publisher: Publisher, bus: MemoryBus, tmp_path: Path, engine: Engine
) -> None:
    bus.down = True
    with pytest.raises(BusUnavailable):
        publisher.publish("run-1", fake_adapter(tmp_path / "adapter"), FROM)
    assert list(states(engine).values()) == ["written"]
    bus.down = False
    assert publisher.recover(["run-1"]) == []
    [version] = publisher.recover([])
    assert [event.version for event in events(bus)] == [version]
    assert states(engine) == {version: "announced"}
    assert publisher.recover([]) == []


def test_a_crash_while_writing_leaves_nothing_after_the_restart(
    publisher: Publisher, bus: MemoryBus, tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(path: Path) -> None:
        raise Killed(path)

    store = tmp_path / "store"
    with monkeypatch.context() as patch:
        patch.setattr(publishing.shutil, "rmtree", lambda *args, **more: None)
        patch.setattr(publishing, "sync_folder", die)
        with pytest.raises(Killed):
            publisher.publish("run-1", fake_adapter(tmp_path / "adapter"), FROM)
    assert [path.name[:9] for path in store.iterdir()] == [".writing-"]
    assert publisher.recover([]) == []
    assert list(store.iterdir()) == []
    assert list(states(engine).values()) == ["withdrawn"]
    assert events(bus) == []


def test_an_artifact_damaged_on_disk_is_written_again_by_its_run(
    publisher: Publisher, bus: MemoryBus, tmp_path: Path
) -> None:
    adapter = fake_adapter(tmp_path / "adapter")
    bus.down = True
    with pytest.raises(BusUnavailable):
        publisher.publish("run-1", adapter, FROM)
    [folder] = (tmp_path / "store").iterdir()
    (folder / "adapter_model.safetensors").write_bytes(b"short")
    bus.down = False
    version = publisher.publish("run-1", adapter, FROM)
    assert read_verified(tmp_path / "store", version, KEY)


def test_manual_promotion_is_passed_on(engine: Engine, bus: MemoryBus, tmp_path: Path) -> None:
    publisher = Publisher(engine, bus, store=tmp_path / "store", key=KEY, promote="manual")
    publisher.publish("run-1", fake_adapter(tmp_path / "adapter"), FROM)
    assert [event.promote for event in events(bus)] == ["manual"]


def test_what_is_no_adapter_is_refused_with_a_reason(publisher: Publisher, tmp_path: Path) -> None:
    adapter = fake_adapter(tmp_path / "adapter")
    (adapter / "adapter_config.json").write_text("{}")
    with pytest.raises(PublishFailed, match="not a LoRA adapter"):
        publisher.publish("run-1", adapter, FROM)


def test_an_artifact_is_never_overwritten_nor_put_outside_the_store(tmp_path: Path) -> None:
    adapter = fake_adapter(tmp_path / "adapter")
    manifest = describe(adapter, version="x", parent="base", base_model="f")
    store = tmp_path / "store"
    store.mkdir()
    write_artifact(store, "x", adapter, manifest, KEY)
    with pytest.raises(PublishFailed, match="already"):
        write_artifact(store, "x", adapter, manifest, KEY)
    with pytest.raises(OutsideStore):
        write_artifact(store, "../x", adapter, manifest, KEY)
