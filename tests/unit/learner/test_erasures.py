"""Somebody is forgotten by the learner: rows, snapshots, run folders, and the word that says so."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Engine
from sqlmodel import select
from tests.databases import learner_store
from tests.learner_events import feedback, turn
from tests.learner_fakes import MemoryBus

from thumbwheel import box
from thumbwheel.box import Secrets
from thumbwheel.events import Envelope, ErasureApplied, PersonErased, decode, wrap
from thumbwheel.sealed import seal_feedback, seal_turn
from thumbwheel.types import Comparison, Correction, Thumb
from thumbwheel_learner.consume import Consumer
from thumbwheel_learner.dataset.forget import Forgetter, Held, affected
from thumbwheel_learner.dataset.freeze import freeze
from thumbwheel_learner.dataset.snapshots import SnapshotDamaged, load
from thumbwheel_learner.store.session import reading, writing
from thumbwheel_learner.store.tables import (
    ErasureRow,
    FeedbackRow,
    RewardModelRow,
    RunRow,
    TurnRow,
    VersionRow,
)

PEOPLE = {name: f"{ord(name[0]):032x}" for name in ("ann", "bob", "eve")}


class Ring:
    """A `KeySource` whose keys can be destroyed."""

    def __init__(self) -> None:
        self.keys = {key_id: name.encode().ljust(32, b".") for name, key_id in PEOPLE.items()}

    def get(self, ids: object) -> Secrets:
        return {i: self.keys[i] for i in ids if i in self.keys}  # type: ignore[attr-defined]

    def of(self, *names: str) -> Secrets:
        return {PEOPLE[name]: self.keys[PEOPLE[name]] for name in names}

    def destroy(self, name: str) -> PersonErased:
        del self.keys[PEOPLE[name]]
        return PersonErased(erasure_id=f"er-{name}", keys=[PEOPLE[name]], created_ms=9_000)


def events(ring: Ring) -> list[Envelope]:
    """Ann was answered twice, Bob once; Eve corrects Ann's, and prefers Bob's answer to Ann's."""
    told: list[Envelope] = []
    for n, name in enumerate(("ann", "ann", "bob")):
        told.append(wrap(seal_turn(turn(n), ring.of(name)), event_id=f"t-{n}"))
        told.append(wrap(seal_feedback(feedback(n), ring.of(name)), event_id=f"fb-{n}/1"))
    better = feedback(0, Correction(completion_id="c-0", text="better", user="eve"), feedback_id="fb-better")
    told.append(wrap(seal_feedback(better, ring.of("ann", "eve")), event_id="fb-better/1"))
    prefers = Comparison(completion_id="c-2", value="this", other_completion_id="c-1", user="eve")
    compared = feedback(2, prefers, feedback_id="fb-pair", other_answer="answer 1")
    told.append(wrap(seal_feedback(compared, ring.of("ann", "bob", "eve")), event_id="fb-pair/1"))
    return told


def catch_up(engine: Engine, bus: MemoryBus) -> None:
    consumer = Consumer(engine, bus)
    while consumer.step(0.0):
        pass


def stored(engine: Engine) -> tuple[set[str], set[str]]:
    with reading(engine) as session:
        turns = set(session.exec(select(TurnRow.completion_id)))
        return turns, set(session.exec(select(FeedbackRow.feedback_id)))


@pytest.fixture
def ring() -> Ring:
    return Ring()


@pytest.fixture
def bus(ring: Ring) -> MemoryBus:
    bus = MemoryBus()
    for envelope in events(ring):
        bus.publish(envelope)
    return bus


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with learner_store(tmp_path / "learner.db") as engine:
        yield engine


def test_reading_needs_no_keys_and_training_does(engine: Engine, bus: MemoryBus, ring: Ring, tmp_path: Path) -> None:
    catch_up(engine, bus)
    assert stored(engine) == ({"c-0", "c-1", "c-2"}, {"fb-0", "fb-1", "fb-2", "fb-better", "fb-pair"})
    snapshot = freeze(engine, tmp_path, ring).snapshot
    assert (len(snapshot.judged), len(snapshot.pairs), len(snapshot.demos), len(snapshot.prompts)) == (3, 2, 1, 3)
    assert {pair.rejected for pair in snapshot.pairs} == {"answer 0", "answer 1"}


def test_rows_go_and_what_comes_late_is_not_stored(engine: Engine, bus: MemoryBus, ring: Ring) -> None:
    catch_up(engine, bus)
    late = wrap(seal_feedback(feedback(1, feedback_id="fb-late"), ring.of("ann")), event_id="fb-late/1")
    bus.publish(ring.destroy("ann"))
    catch_up(engine, bus)
    assert stored(engine) == ({"c-2"}, {"fb-2"})
    bus.publish(late)
    catch_up(engine, bus)
    assert stored(engine) == ({"c-2"}, {"fb-2"})
    with reading(engine) as session:
        row = session.exec(select(ErasureRow)).one()
    assert (row.turns, row.feedback) == (2, 4)


def test_the_order_of_topics_makes_no_difference(bus: MemoryBus, ring: Ring, tmp_path: Path) -> None:
    """A rebuild may read the erasure before or after what it erases."""
    erased = ring.destroy("ann")
    early = MemoryBus()
    early.publish(erased)
    for log in bus.logs.values():
        for record in log:
            early.publish(decode(record.value))
    bus.publish(erased)
    found = []
    for name, source in (("late", bus), ("early", early)):
        with learner_store(tmp_path / f"{name}.db") as engine:
            catch_up(engine, source)
            found.append((stored(engine), freeze(engine, tmp_path / name, ring).snapshot.hash))
    assert found[0] == found[1]


def test_a_snapshot_verifies_after_an_erasure_and_reads_without_them(
    engine: Engine, bus: MemoryBus, ring: Ring, tmp_path: Path
) -> None:
    catch_up(engine, bus)
    frozen = freeze(engine, tmp_path, ring)
    assert load(tmp_path, frozen.snapshot.hash, ring) == frozen
    ring.destroy("ann")
    left = load(tmp_path, frozen.snapshot.hash, ring)
    assert (left.snapshot.hash, left.events_sha256) == (frozen.snapshot.hash, frozen.events_sha256)
    assert [j.event_id for j in left.snapshot.judged] == ["fb-2/1"]
    assert (left.snapshot.pairs, left.snapshot.demos, left.erased) == ([], [], 2 + 2 + 1 + 2)
    assert Held(tmp_path).touched([frozen.snapshot.hash], [PEOPLE["ann"]]) == (7, 9)
    assert Held(tmp_path).touched([frozen.snapshot.hash], [PEOPLE["eve"]]) == (3, 9)
    again = freeze(engine, tmp_path, ring).snapshot
    assert again.counts["excluded_erased"] > 0
    assert again.hash != frozen.snapshot.hash


def test_a_box_that_opens_to_nothing_of_use_is_left_out_and_counted(
    engine: Engine, bus: MemoryBus, ring: Ring, tmp_path: Path
) -> None:
    sealed = seal_feedback(feedback(1), ring.of("ann"))
    for number, damaged in enumerate(
        (
            msgspec.structs.replace(sealed, feedback_id="fb-else", box=sealed.box),
            msgspec.structs.replace(sealed, feedback_id="fb-bit", box=sealed.box[:-1] + b"?"),
            msgspec.structs.replace(
                sealed, feedback_id="fb-json", box=box.seal(b'{"no":1}', ring.of("ann"), "feedback/fb-json/1")
            ),
        )
    ):
        bus.publish(wrap(damaged, event_id=f"damaged-{number}"))
    catch_up(engine, bus)
    counts = freeze(engine, tmp_path, ring).snapshot.counts
    assert (counts["excluded_damaged"], counts["excluded_erased"]) == (3, 0)
    assert counts["thumbs_up"] + counts["thumbs_down"] == 3


def test_no_text_lies_in_a_snapshot_file(engine: Engine, bus: MemoryBus, ring: Ring, tmp_path: Path) -> None:
    import gzip

    catch_up(engine, bus)
    frozen = freeze(engine, tmp_path, ring)
    plain = gzip.decompress((tmp_path / frozen.file).read_bytes())
    assert b"question" not in plain
    assert b"answer" not in plain
    assert b"question" not in (tmp_path / "learner.db").read_bytes()


def test_a_box_that_was_changed_is_damage_and_no_erasure(
    engine: Engine, bus: MemoryBus, ring: Ring, tmp_path: Path
) -> None:
    catch_up(engine, bus)
    frozen = freeze(engine, tmp_path, ring)
    ring.keys[PEOPLE["ann"]] = b"another key than it was sealed by"[:32]
    with pytest.raises(SnapshotDamaged):
        load(tmp_path, frozen.snapshot.hash, ring)


def test_a_box_without_keys_is_a_dead_letter(engine: Engine) -> None:
    bus = MemoryBus()
    sealed = seal_turn(turn(1), {"0" * 32: b"k" * 32})
    bus.publish(wrap(msgspec.structs.replace(sealed, box=b"\x01\x00\x00nothing"), event_id="t"))
    catch_up(engine, bus)
    assert stored(engine) == (set(), set())


def run_of(number: int, snapshot: str | None, parent: str, **more: object) -> RunRow:
    row = {
        "run_id": f"run-{number}", "state": "published", "stage": "publish", "stages": "ppo", "trigger": "now",
        "snapshot": snapshot, "parent": parent, "base": "b", "frozen_ms": 1, "started_ms": number,
    }  # fmt: skip
    return RunRow(**row | more)


def version_of(number: int) -> VersionRow:
    return VersionRow(version=f"v{number}", number=number, run_id=f"run-{number}", state="announced", created_ms=number)


def test_versions_are_named_with_the_share_of_their_data(
    engine: Engine, bus: MemoryBus, ring: Ring, tmp_path: Path
) -> None:
    catch_up(engine, bus)
    whole = freeze(engine, tmp_path, ring).snapshot.hash
    bus.publish(ring.destroy("ann"))
    catch_up(engine, bus)
    without = freeze(engine, tmp_path, ring).snapshot.hash
    by_reward = msgspec.json.encode({"ppo": {"reward_model": "rm-1"}}).decode()
    with writing(engine) as session:
        session.add(run_of(1, whole, "base"))
        session.add(run_of(2, without, "v1"))
        session.add(run_of(3, without, "base"))
        session.add(run_of(4, without, "base", detail=by_reward))
        session.add(
            RewardModelRow(reward_id="rm-1", run_id="run-1", folder="f", snapshot=whole, metrics="{}", created_ms=1)
        )
        session.add_all([version_of(n) for n in (1, 2, 3, 4)])
    told_of = affected(engine, Held(tmp_path), [PEOPLE["ann"]])
    found = {v.version: (v.examples, round(v.share, 3), v.inherited) for v in told_of}
    assert found == {"v1": (7, round(7 / 9, 3), False), "v2": (0, 0.0, True), "v4": (7, round(7 / 11, 3), False)}


def told(bus: MemoryBus) -> list[ErasureApplied]:
    found = [decode(record.value).event for record in bus.events("thumbwheel.erasures")]
    return [event for event in found if isinstance(event, ErasureApplied)]


def test_an_erasure_is_told_once_run_folders_are_gone(
    engine: Engine, bus: MemoryBus, ring: Ring, tmp_path: Path
) -> None:
    catch_up(engine, bus)
    whole = freeze(engine, tmp_path, ring).snapshot.hash
    runs = tmp_path / "runs"
    for number in (1, 2):
        (runs / f"run-{number}" / "ppo").mkdir(parents=True)
    named = msgspec.json.encode({"reward": {"id": "rm-1", "voters": {"quarantined": [{"user": "ann"}]}}}).decode()
    with writing(engine) as session:
        session.add(run_of(1, whole, "base", state="running", detail=named))
        session.add(run_of(2, None, "base"))
        session.add(version_of(1))
    bus.publish(ring.destroy("ann"))
    catch_up(engine, bus)
    forgetter = Forgetter(engine, bus, runs=runs, data=tmp_path)
    assert forgetter.apply() == 0, "a run that goes on has the examples in memory"
    with writing(engine) as session:
        session.exec(select(RunRow).where(RunRow.run_id == "run-1")).one().state = "published"
    assert forgetter.apply() == 1
    assert sorted(path.name for path in runs.iterdir()) == ["run-2"]
    with writing(engine) as session:
        detail = session.exec(select(RunRow).where(RunRow.run_id == "run-1")).one().detail
    assert msgspec.json.decode(detail) == {"reward": {"id": "rm-1"}}
    (event,) = told(bus)
    assert (event.erasure_id, event.turns, event.feedback) == ("er-ann", 2, 4)
    assert [v.version for v in event.versions] == ["v1"]
    assert forgetter.apply() == 0
    catch_up(engine, bus)


def test_a_bus_that_is_away_is_told_later(engine: Engine, bus: MemoryBus, ring: Ring, tmp_path: Path) -> None:
    bus.publish(ring.destroy("bob"))
    catch_up(engine, bus)
    forgetter = Forgetter(engine, bus, runs=tmp_path / "runs", data=tmp_path)
    bus.down = True
    with pytest.raises(Exception, match="down"):
        forgetter.apply()
    bus.down = False
    assert forgetter.apply() == 1
    assert len(told(bus)) == 1


def test_boxes_of_votes_have_the_keys_of_everybody(ring: Ring) -> None:
    sealed = seal_feedback(feedback(1, Thumb(completion_id="c-1", value="up")), ring.of("ann", "bob"))
    assert box.key_ids(sealed.box) == sorted((PEOPLE["ann"], PEOPLE["bob"]))
