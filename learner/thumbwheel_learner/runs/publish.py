"""A trained adapter becomes a version: artifact on disk, manifest last and signed, then the event; safe to repeat."""

import json
import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
from sqlalchemy import Engine, update
from sqlmodel import col, func, select

from thumbwheel import failpoint
from thumbwheel.artifact import (
    ADAPTER_FILES,
    MANIFEST,
    ArtifactError,
    Manifest,
    encode_manifest,
    inside,
    read_verified,
    sha256_file,
    sign,
)
from thumbwheel.bus import EventBus, NewRecord
from thumbwheel.events import PolicyPublished, encode, now_ms, topic_and_key, wrap
from thumbwheel_learner.errors import LearnerError
from thumbwheel_learner.files import sync_folder
from thumbwheel_learner.store.session import reading, writing
from thumbwheel_learner.store.tables import VersionRow

_TEMPORARY = ".writing-"


class PublishFailed(LearnerError):
    """The artifact could not be written, or what lies in its place is another."""


class Provenance(NamedTuple):
    """Where a version's behaviour came from, for its manifest."""

    parent: str
    base_model: str
    """Fingerprint of the base model."""
    snapshot: dict[str, Any]
    reward_model: dict[str, Any]
    metrics: dict[str, Any]
    verdict: dict[str, Any]


def describe(adapter: Path, *, version: str, parent: str, base_model: str) -> Manifest:
    """The manifest of an adapter folder, unsigned; raises `PublishFailed` when a file is missing or odd."""
    try:
        config = json.loads((adapter / ADAPTER_FILES[0]).read_bytes())
        files = {name: sha256_file(adapter / name) for name in ADAPTER_FILES}
        rank = int(config["r"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise PublishFailed(f"{adapter} is not a LoRA adapter: {error!r}") from error
    return Manifest(version=version, parent=parent, base_model=base_model, rank=rank, created_ms=now_ms(), files=files)


def write_artifact(store: Path, artifact: str, adapter: Path, manifest: Manifest, key: bytes) -> Path:
    """Copy an adapter into the store under `artifact`, whole or not at all: files, fsync, manifest last, rename.

    Raises `PublishFailed`, also when the place is taken by something else.
    """
    place = inside(store, artifact)
    if place.exists():
        raise PublishFailed(f"{artifact} is there already")
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.parent / f"{_TEMPORARY}{place.name}-{uuid.uuid4().hex[:8]}"
    try:
        temporary.mkdir()
        for name in ADAPTER_FILES:
            _write(temporary / name, (adapter / name).read_bytes())
            if sha256_file(temporary / name) != manifest.files[name]:
                raise PublishFailed(f"{adapter / name} changed while it was copied")
        sync_folder(temporary)
        failpoint.reach("publish.files")
        _write(temporary / MANIFEST, encode_manifest(sign(manifest, key)))
        sync_folder(temporary)
        temporary.rename(place)
        sync_folder(place.parent)
    except OSError as error:
        raise PublishFailed(f"{artifact} could not be written: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return place


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


class Publisher:
    """Gives out version names and publishes under them; one call per run, however often the run is resumed."""

    def __init__(
        self, engine: Engine, bus: EventBus, *, store: Path, key: bytes, promote: Literal["auto", "manual"]
    ) -> None:
        self._engine = engine
        self._bus = bus
        self._store = store
        self._key = key
        self._promote: Literal["auto", "manual"] = promote

    def publish(self, run_id: str, adapter: Path, provenance: Provenance) -> str:
        """Write the artifact and announce it; returns the version.

        Raises `PublishFailed`, `BusUnavailable` (nothing is lost: call again).
        """
        version = self._name(run_id, adapter)
        if not self._is_written(version):
            shutil.rmtree(self._store / version, ignore_errors=True)
            manifest = describe(adapter, version=version, parent=provenance.parent, base_model=provenance.base_model)
            write_artifact(self._store, version, adapter, _with(manifest, provenance), self._key)
        failpoint.reach("publish.written")
        self._set_state(version, "written")
        self._announce(version)
        return version

    def recover(self, running: Sequence[str]) -> list[str]:
        """Finish what a crash left half-way: announce what is whole, remove what is not; returns what was announced.

        Versions of the `running` runs are left alone: those runs publish them themselves when they are resumed.
        """
        for leftover in self._store.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        with reading(self._engine) as session:
            open_rows = session.exec(
                select(VersionRow).where(
                    col(VersionRow.state).in_(("writing", "written")), col(VersionRow.run_id).not_in(running)
                )
            ).all()
        announced: list[str] = []
        for row in open_rows:
            if row.state == "written" and self._is_written(row.version):
                self._announce(row.version)
                announced.append(row.version)
            else:
                shutil.rmtree(self._store / row.version, ignore_errors=True)
                self._set_state(row.version, "withdrawn")
        return announced

    def _name(self, run_id: str, adapter: Path) -> str:
        """`v<number>-<8 hex of the adapter's sha256>`, the same for every attempt of a run."""
        digest = sha256_file(adapter / ADAPTER_FILES[1])[:8]
        with writing(self._engine) as session:
            row = session.exec(select(VersionRow).where(VersionRow.run_id == run_id)).first()
            if row is not None and row.version.endswith(digest):
                return row.version
            if row is not None:
                if row.state == "announced":
                    raise PublishFailed(f"{run_id} has published {row.version}, and now brings another adapter")
                shutil.rmtree(self._store / row.version, ignore_errors=True)
                session.delete(row)
                session.flush()
            number = (session.exec(select(func.max(VersionRow.number))).one() or 0) + 1
            version = f"v{number}-{digest}"
            session.add(VersionRow(version=version, number=number, run_id=run_id, state="writing", created_ms=now_ms()))
            return version

    def _is_written(self, version: str) -> bool:
        try:
            read_verified(self._store, version, self._key)
        except ArtifactError:
            return False
        return True

    def _set_state(self, version: str, state: str) -> None:
        with writing(self._engine) as session:
            session.connection().execute(
                update(VersionRow).where(col(VersionRow.version) == version).values(state=state)
            )

    def _announce(self, version: str) -> None:
        """Append the event; its id derives from the version, so that a repeat is recognised by every reader."""
        folder, manifest = read_verified(self._store, version, self._key)
        event = PolicyPublished(
            version=version,
            artifact=version,
            manifest_sha256=sha256_file(folder / MANIFEST),
            created_ms=manifest.created_ms,
            promote=self._promote,
        )
        topic, key = topic_and_key(event)
        envelope = wrap(event, event_id=f"published-{version}")
        self._bus.append([NewRecord(topic.name, key, envelope.event_id, encode(envelope))])
        failpoint.reach("publish.announced")
        self._set_state(version, "announced")


def _with(manifest: Manifest, provenance: Provenance) -> Manifest:
    return msgspec.structs.replace(
        manifest,
        snapshot=provenance.snapshot,
        reward_model=provenance.reward_model,
        metrics=provenance.metrics,
        verdict=provenance.verdict,
    )
