"""Two replicas on one database: duplicates become one, and no feedback falls between a turn and its end."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, select
from tests.contract.service.store import end_turn, events, open_turn, write
from tests.keyrings import keyring_beside
from tests.serving import alive, client, idle_app

from thumbwheel.events import DEFAULT_TENANT
from thumbwheel_service.db.engine import connect
from thumbwheel_service.db.tables import CompletionRow, FeedbackRow
from thumbwheel_service.db.writer import Writer

UP = {"kind": "thumb", "completion_id": "c1", "value": "up"}


@pytest.fixture
async def replicas(database: Engine, tmp_path: Path) -> AsyncIterator[list[httpx.AsyncClient]]:
    url = database.url.render_as_string(hide_password=False)
    apps = [idle_app(tmp_path, database_url=url, replica=name) for name in ("left", "right")]
    async with alive(apps[0]), alive(apps[1]), client(apps[0]) as left, client(apps[1]) as right:
        turn = {"messages": [{"role": "user", "content": "x"}], "answers": ["A", "B"], "completion_id": "c1"}
        assert (await left.post("/v1/turns", json=turn)).status_code == 201
        yield [left, right]


async def test_one_key_sent_many_times_at_once_is_applied_once(
    replicas: list[httpx.AsyncClient], database: Engine
) -> None:
    answers = await asyncio.gather(
        *[replicas[i % 2].post("/v1/feedback", json=UP, headers={"idempotency-key": "k"}) for i in range(40)]
    )
    assert {(a.status_code, a.content) for a in answers} == {(201, answers[0].content)}
    assert [a.headers.get("idempotency-replayed") for a in answers].count(None) == 1
    assert len(write(database, events)) == 1


async def test_one_thumb_sent_many_times_at_once_is_one_thumb(
    replicas: list[httpx.AsyncClient], database: Engine
) -> None:
    answers = await asyncio.gather(*[replicas[i % 2].post("/v1/feedback", json=UP) for i in range(40)])
    assert sorted(a.status_code for a in answers) == [200] * 39 + [201]
    assert {a.json()["revision"] for a in answers} == {1}
    assert len(write(database, events)) == 1


async def test_changing_minds_at_once_makes_every_revision_once(
    replicas: list[httpx.AsyncClient], database: Engine
) -> None:
    bodies = [UP | {"comment": str(i)} for i in range(40)]
    answers = await asyncio.gather(*[replicas[i % 2].post("/v1/feedback", json=b) for i, b in enumerate(bodies)])
    assert sorted(a.json()["revision"] for a in answers) == list(range(1, 41))
    assert sorted(e.revision for e in write(database, events)) == list(range(1, 41))


async def test_feedback_that_races_with_the_end_of_its_turn_is_told_once(
    replicas: list[httpx.AsyncClient], database: Engine
) -> None:
    """The recorder of one replica ends the turn while the other takes the feedback."""
    names = [f"race{i}" for i in range(60)]
    for name in names:
        write(database, lambda s, name=name: open_turn(s, DEFAULT_TENANT, name))
    other = connect(database.url.render_as_string(hide_password=False))
    recorder = Writer(other, keyring_beside(other))
    ends = [recorder.run(lambda s, name=name: end_turn(s, name)) for name in names]
    thumbs = [replicas[i % 2].post("/v1/feedback", json=UP | {"completion_id": n}) for i, n in enumerate(names)]
    answers = await asyncio.gather(*[job for pair in zip(thumbs, ends, strict=True) for job in pair])
    assert {a.status_code for a in answers if isinstance(a, httpx.Response)} == {201}
    await asyncio.to_thread(recorder.close)
    other.dispose()
    told = write(database, events)
    assert sorted(e.completion_id or "" for e in told) == sorted(names)
    assert {(e.answer, e.turn_status) for e in told} == {("A", "complete")}
    with_wait = select(FeedbackRow.feedback_id).where(FeedbackRow.pending_event)
    assert write(database, lambda s: s.execute(with_wait).all()) == []


async def test_a_replica_that_starts_finds_what_its_last_life_left_open(database: Engine, tmp_path: Path) -> None:
    url = database.url.render_as_string(hide_password=False)
    owners = {"mine": "left/boot-old", "nobody": "", "theirs": "right/boot-old", "like": "left-2/boot-old"}
    for name, owner in owners.items():
        write(database, lambda s, n=name, o=owner: open_turn(s, DEFAULT_TENANT, n, owner=o or None))
    app = idle_app(tmp_path, database_url=url, replica="right")
    async with alive(app), client(app) as http:
        for name in owners:
            status = (await http.post("/v1/feedback", json=UP | {"completion_id": name})).status_code
            assert status == 201
    app = idle_app(tmp_path, database_url=url, replica="left")
    async with alive(app), client(app) as http:
        turn = (await http.get("/v1/turns/mine")).json()
        assert (turn["status"], turn.get("messages")) == ("lost", None)
        assert (
            await http.post("/v1/feedback", json=UP | {"completion_id": "mine", "value": "down"})
        ).status_code == 200
    with_status = select(CompletionRow.completion_id, CompletionRow.status)
    found = {row[0]: row[1] for row in write(database, lambda s: s.execute(with_status).all())}
    assert found == {"mine": "lost", "nobody": "lost", "theirs": "lost", "like": "open"}
    told = [(e.completion_id, e.revision, e.turn_status, e.answer, e.messages) for e in write(database, events)]
    assert sorted(told) == [
        ("mine", 1, "lost", None, []),
        ("mine", 2, "lost", None, []),
        ("nobody", 1, "lost", None, []),
        ("theirs", 1, "lost", None, []),
    ]
