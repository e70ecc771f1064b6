"""PostgreSQL fails in the middle of everything and comes back: 503 meanwhile, nothing lost, no restart."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select
from sqlmodel import Session
from tests.databases import OwnPostgres
from tests.fake_engine import FakeEngine
from tests.ledger import Ledger, check_refusal, readiness, whole
from tests.serving import alive, client
from tests.waiting import eventually

from thumbwheel_service.app import create_app
from thumbwheel_service.db.engine import connect
from thumbwheel_service.db.tables import LogRow
from thumbwheel_service.settings import Settings

pytestmark = pytest.mark.postgres
HELLO = {"messages": [{"role": "user", "content": "Hello"}]}


class Running:
    def __init__(self, http: httpx.AsyncClient, engine: FakeEngine, server: OwnPostgres, url: str) -> None:
        self.http, self.engine, self.server, self.url = http, engine, server, url

    def event_ids(self) -> list[str]:
        database = connect(self.url)
        with Session(database) as session:
            found = list(session.execute(select(func.distinct(LogRow.event_id))).scalars())
        database.dispose()
        return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnPostgres]:
    with contextlib.closing(OwnPostgres(tmp_path_factory.mktemp("postgres"))) as found:
        yield found


@pytest.fixture
async def running(server: OwnPostgres, tmp_path: Path) -> AsyncIterator[Running]:
    engine, url = FakeEngine(), server.database()
    app = create_app(Settings(data=tmp_path, database_url=url), engine)
    async with alive(app), client(app) as http:
        yield Running(http, engine, server, url)
        await asyncio.to_thread(server.start)


async def test_a_server_that_crashes_under_load_costs_time_only(running: Running) -> None:
    http, ledger = running.http, Ledger()
    async with ledger.crowd([http]):
        await ledger.grows(20)
        await asyncio.to_thread(running.server.stop)
        try:
            await ledger.shrugs(20)
            for path in ("/v1/status", "/v1/turns", "/v1/feedback?limit=1"):
                check_refusal(await http.get(path))
            assert "no connection" in await readiness(http, False)
            assert [(await http.get(path)).status_code for path in ("/healthz", "/metrics")] == [200, 200]
        finally:
            await asyncio.to_thread(running.server.start)
        await ledger.grows(20)
    assert await readiness(http, True) == "ready"
    await ledger.check(http)
    told = set(running.event_ids())
    assert {f"{completion_id}/turn" for completion_id in ledger.chats} <= told
    assert {f"{feedback_id}/1" for feedback_id in ledger.votes.values()} <= told


async def test_a_turn_that_ends_while_the_server_is_away_is_stored_when_it_is_back(running: Running) -> None:
    http = running.http
    running.engine.hold_after(1)
    asking = asyncio.create_task(http.post("/v1/chat/completions", json=HELLO))
    await eventually(lambda: running.engine.chats)
    completion_id = running.engine.chats[0].completion_id
    thumb = {"kind": "thumb", "completion_id": completion_id, "value": "up"}
    for _ in range(500):
        if (answer := await http.post("/v1/feedback", json=thumb)).status_code != 404:
            break
        await asyncio.sleep(0.01)
    assert answer.status_code == 201
    await asyncio.to_thread(running.server.stop)
    running.engine.go_on()
    assert (await asking).status_code == 200, "the answer never waits for its turn to be stored"
    await asyncio.to_thread(running.server.start)
    turn = await whole(http, completion_id)
    assert turn["choices"][0]["text"] == "I am base"
    assert len([i for i in running.event_ids() if i.startswith(turn["feedback"][0]["feedback_id"])]) == 1
