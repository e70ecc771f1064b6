"""Policies on a real SQLite database, a real artifact store and a fake engine."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlmodel import Session, SQLModel
from tests.adapters import published, write_adapter, write_artifact, write_base
from tests.fake_engine import FakeEngine, served_from
from tests.keyrings import KEYRING

from thumbwheel.artifact import base_fingerprint
from thumbwheel.events import Event, decode, new_id
from thumbwheel_service.db.engine import connect
from thumbwheel_service.db.reader import Reader
from thumbwheel_service.db.tables import LogRow, PolicyRow
from thumbwheel_service.db.writer import Writer
from thumbwheel_service.metrics import Metrics
from thumbwheel_service.owner import Owner
from thumbwheel_service.policies.artifacts import ArtifactShelf
from thumbwheel_service.policies.candidates import CandidateService
from thumbwheel_service.policies.loaded import LoadedVersions
from thumbwheel_service.policies.router import Router
from thumbwheel_service.policies.service import PolicyService, Promotion

KEY = b"k" * 64


class Wheel:
    """One service process's policies; `restart` is the next process on the same state."""

    def __init__(self, folder: Path, database: Engine, promote: Promotion = "auto", private: str = "private") -> None:
        self.folder = folder
        self.database = database
        self.store = folder / "store"
        base = write_base(folder / "base")
        self.fingerprint = base_fingerprint(base)
        self.engine = FakeEngine(info=served_from(base))
        self.router = Router("thumbwheel")
        self.writer, self.reader, self.metrics = Writer(database, KEYRING), Reader(database, KEYRING), Metrics()
        self.shelf = ArtifactShelf(self.store, folder / private, KEY, reserved=frozenset({"thumbwheel"}))
        self.owner = Owner(private, new_id("boot"))
        loaded = LoadedVersions(self.engine, self.router, self.shelf, self.writer, self.reader, self.owner)
        self.policies = PolicyService(
            self.router, loaded, self.writer, self.reader, self.metrics, self.owner, promote=promote, ask_seconds=0.01
        )
        self.candidates = CandidateService(self.engine, self.shelf, self.policies)

    def write(self, version: str, *, artifact: str | None = None, **fields: Any) -> Path:
        adapter = write_adapter(self.folder / "made" / version)
        fields = {"base_model": self.fingerprint, **fields}
        key = fields.pop("key", KEY)
        return write_artifact(self.store, artifact or version, adapter, key, version=version, **fields)

    async def offer(self, version: str, *, promote: str = "auto", **fields: Any) -> None:
        self.write(version, **fields)
        await self.policies.published(published(self.store, version, promote=promote))

    def row(self, version: str) -> PolicyRow:
        with Session(self.database) as session:
            return session.get_one(PolicyRow, version)

    def events(self) -> list[Event]:
        with Session(self.database) as session:
            rows = session.execute(select(LogRow).order_by(LogRow.offset)).scalars().all()  # type: ignore[arg-type]
            return [decode(row.value).event for row in rows]

    async def close(self) -> None:
        await self.policies.close()
        self.writer.close()
        self.reader.close()

    async def restart(self, promote: Promotion = "auto") -> "Wheel":
        await self.close()
        wheel = Wheel(self.folder, self.database, promote)
        await wheel.policies.restore()
        return wheel


@pytest.fixture
async def wheel(tmp_path: Path) -> AsyncIterator[Wheel]:
    database = connect(f"sqlite:///{tmp_path / 'service.db'}")
    SQLModel.metadata.create_all(database)
    wheel = Wheel(tmp_path, database)
    await wheel.policies.restore()
    yield wheel
    await wheel.close()
    database.dispose()
