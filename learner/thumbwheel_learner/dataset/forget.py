"""Sees an erasure through on the learner's side: run folders go, and the service hears what had been made of it."""

import logging
import shutil
from collections.abc import Collection
from pathlib import Path

import msgspec
from sqlalchemy import Engine
from sqlmodel import col, select

from thumbwheel.bus import EventBus, NewRecord
from thumbwheel.events import ErasureApplied, encode, now_ms, topic_and_key, wrap
from thumbwheel.types import AffectedVersion
from thumbwheel_learner.dataset import snapshots
from thumbwheel_learner.store import erasures
from thumbwheel_learner.store.runs import forget_voters
from thumbwheel_learner.store.session import reading, writing
from thumbwheel_learner.store.tables import RewardModelRow, RunRow, VersionRow

log = logging.getLogger(__name__)


class Forgetter:
    """Works beside the reading (see `Woken`). The rows went when the erasure was read (`store.erasures`).

    A crash between append and mark tells of an erasure twice, under the same event id.
    """

    def __init__(self, engine: Engine, bus: EventBus, *, runs: Path, data: Path) -> None:
        """`runs`: the folder of the runs' folders; `data`: where snapshots lie."""
        self._engine = engine
        self._bus = bus
        self._runs = runs
        self._data = data

    def apply(self) -> int:
        """Returns how many erasures were seen through; one that a run still has in memory waits for its end."""
        with reading(self._engine) as session:
            waiting = erasures.unapplied(session)
            runs = list(session.exec(select(RunRow).order_by(col(RunRow.started_ms)))) if waiting else []
        held, done = Held(self._data), 0
        for erasure in waiting:
            holding = [run for run in runs if held.touched([run.snapshot], erasure.keys)[0]]
            if any(run.state == "running" for run in holding):
                continue
            for run in holding:
                shutil.rmtree(self._runs / run.run_id, ignore_errors=True)
                forget_voters(self._engine, run.run_id)
            self._tell(erasure, affected(self._engine, held, erasure.keys))
            done += 1
        return done

    def _tell(self, erasure: erasures.Erasure, versions: list[AffectedVersion]) -> None:
        event = ErasureApplied(
            erasure_id=erasure.erasure_id,
            turns=erasure.turns,
            feedback=erasure.feedback,
            versions=versions,
            created_ms=now_ms(),
        )
        topic, key = topic_and_key(event)
        envelope = wrap(event, tenant=erasure.tenant, event_id=f"{erasure.erasure_id}/applied")
        self._bus.append([NewRecord(topic.name, key, envelope.event_id, encode(envelope))])
        with writing(self._engine) as session:
            erasures.mark_applied(session, erasure.erasure_id)
        log.info("erasure %s: %d turns and %d labels are gone", erasure.erasure_id, erasure.turns, erasure.feedback)


def affected(engine: Engine, held: "Held", keys: Collection[str]) -> list[AffectedVersion]:
    """Versions that were trained on what lies under these keys, and those that descend from one, oldest first.

    A version's data is the snapshot of its run, and that of its reward model where it is another one.
    """
    with reading(engine) as session:
        statement = select(VersionRow, RunRow).join(RunRow, col(RunRow.run_id) == col(VersionRow.run_id))
        made = session.exec(statement.order_by(col(VersionRow.number))).all()
        rewards = {row.reward_id: row.snapshot for row in session.exec(select(RewardModelRow))}
    found: dict[str, AffectedVersion] = {}
    for version, run in made:
        if version.state not in ("written", "announced"):
            continue
        used = msgspec.json.decode(run.detail).get("ppo", {}).get("reward_model")
        touched, total = held.touched([run.snapshot, rewards.get(used)], keys)
        inherited = run.parent in found
        if touched or inherited:
            share = touched / total if total else 0.0
            found[version.version] = AffectedVersion(
                version=version.version, examples=touched, share=share, inherited=inherited
            )
    return list(found.values())


class Held:
    """Under which keys the examples of snapshots are sealed; each snapshot is read once, however often it is asked."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._read: dict[str, list[frozenset[str]]] = {}

    def touched(self, hashes: Collection[str | None], keys: Collection[str]) -> tuple[int, int]:
        """(examples under any of these keys, all examples) of these snapshots; one that is gone holds none."""
        examples = [held for digest in {*hashes} - {None} for held in self._of(str(digest))]
        return sum(not held.isdisjoint(keys) for held in examples), len(examples)

    def _of(self, digest: str) -> list[frozenset[str]]:
        if digest not in self._read:
            try:
                self._read[digest] = snapshots.keys_of_examples(self._data, digest)
            except snapshots.SnapshotDamaged as error:
                log.warning("%s; it cannot tell whom it concerns", error)
                self._read[digest] = []
        return self._read[digest]
