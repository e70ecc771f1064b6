"""A chat service on a real SQLite database and a fake engine."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Engine, select
from sqlmodel import Session, SQLModel
from tests.fake_engine import FakeEngine
from tests.keyrings import KEYRING, opened

from thumbwheel.events import TurnCompleted
from thumbwheel_service.chat.recorder import TurnRecorder
from thumbwheel_service.chat.service import ChatService
from thumbwheel_service.chat.turn import LiveTurn
from thumbwheel_service.db.engine import connect
from thumbwheel_service.db.tables import CompletionRow, LogRow
from thumbwheel_service.db.writer import Writer
from thumbwheel_service.metrics import Metrics
from thumbwheel_service.policies.router import Router
from thumbwheel_service.redaction.redactor import Redactor

HELLO = {"messages": [{"role": "user", "content": "Hello"}]}


class Desk:
    """Everything a chat needs, and a look into what was written."""

    def __init__(self, database: Engine) -> None:
        self.database = database
        self.engine = FakeEngine()
        self.router = Router("thumbwheel")
        self.writer = Writer(database, KEYRING)
        self.metrics = Metrics()
        self.recorder = TurnRecorder(self.writer, self.metrics, Redactor([]), owner="me/boot")
        self.chats = ChatService(self.engine, self.router, self.recorder, self.metrics, limit=4)

    def begin(self, **body: object) -> LiveTurn:
        return self.chats.begin("default", msgspec.json.encode({**HELLO, **body}), {})

    def row(self, completion_id: str) -> CompletionRow | None:
        with Session(self.database) as session:
            return session.get(CompletionRow, completion_id)

    def events(self) -> list[TurnCompleted]:
        with Session(self.database) as session:
            rows = session.execute(select(LogRow).order_by(LogRow.created_ms)).scalars().all()  # type: ignore[arg-type]
            found = [opened(row.value) for row in rows]
        return [event for event in found if isinstance(event, TurnCompleted)]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    database = connect(f"sqlite:///{tmp_path / 'service.db'}")
    SQLModel.metadata.create_all(database)
    desk = Desk(database)
    yield desk
    desk.engine.go_on()
    await desk.chats.drain(1.0)
    desk.writer.close()
    database.dispose()
