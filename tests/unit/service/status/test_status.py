"""Status, probes, metrics, request ids and the OpenAPI document, over the running application."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from litestar import Litestar
from tests.fakes import IdleEngine
from tests.serving import admin_key, alive, client

from thumbwheel.events import (
    DEAD_LETTERS,
    DeadLettered,
    DeadLetterSettled,
    Event,
    LearnerReported,
    encode,
    new_id,
    now_ms,
    topic_and_key,
    wrap,
)
from thumbwheel.internal import MSGPACK, LogAppend, LogEntry, LogPage
from thumbwheel.types import LearnerStatus, ServiceStatus, StoredOffsets
from thumbwheel_service.app import create_app
from thumbwheel_service.engine.protocol import EngineHealth
from thumbwheel_service.log import retention
from thumbwheel_service.settings import Settings


class Running:
    def __init__(self, app: Litestar, engine: IdleEngine, http: httpx.AsyncClient, admin: httpx.AsyncClient) -> None:
        self.app, self.engine, self.http, self.admin = app, engine, http, admin

    async def status(self) -> ServiceStatus:
        return msgspec.json.decode((await self.http.get("/v1/status")).content, type=ServiceStatus)

    async def learner(self, wanted: Callable[[LearnerStatus], bool]) -> LearnerStatus:
        """What the status says of the learner, once it is as wanted."""
        for _ in range(2000):
            learner = (await self.status()).learner
            if learner is not None and wanted(learner):
                return learner
            await asyncio.sleep(0.01)
        raise AssertionError("the report was not heard")

    async def report(self, **changes: Any) -> None:
        status = LearnerStatus(
            state="training",
            stage="ppo",
            progress=0.5,
            run_id="r1",
            detail="",
            labels_total=10,
            labels_new=3,
            updated_ms=now_ms(),
        )
        await self.append(LearnerReported(status=msgspec.structs.replace(status, **changes)))

    async def append(self, said: Event | bytes, topic: str = "thumbwheel.learner") -> None:
        """Put an event, or what is none, on the log."""
        value = said if isinstance(said, bytes) else encode(wrap(said))
        key = "status" if isinstance(said, bytes) else topic_and_key(said)[1]
        entry = LogEntry(topic, key, new_id("ev"), value)
        body = msgspec.msgpack.encode(LogAppend([entry]))
        answer = await self.admin.post("/internal/log", content=body, headers={"content-type": MSGPACK})
        assert answer.status_code == 200


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    engine = IdleEngine()
    app = create_app(Settings(data=tmp_path, learner_silent_seconds=60.0), engine)
    async with alive(app), client(app) as http, client(app, key=admin_key(tmp_path)) as admin:
        yield Running(app, engine, http, admin)


async def test_status_says_what_is_served_and_recorded(running: Running) -> None:
    turn = {"messages": [{"role": "user", "content": "x"}], "answers": ["y"], "completion_id": "c"}
    await running.http.post("/v1/turns", json=turn)
    await running.http.post("/v1/feedback", json={"kind": "thumb", "completion_id": "c", "value": "up"})
    status = await running.status()
    assert (status.model, status.alias, status.live_policy, status.bus) == ("idle", "thumbwheel", "base", "embedded")
    assert (status.turns, status.feedback, status.learner) == (1, 1, None)


async def test_status_has_the_learner_s_last_word(running: Running) -> None:
    await running.report(progress=0.1)
    await running.report(progress=0.9)
    learner = await running.learner(lambda learner: learner.progress == 0.9)
    assert (learner.state, learner.stage) == ("training", "ppo")


async def test_a_report_that_is_no_text_is_skipped_and_counted(running: Running) -> None:
    await running.append(b'{"event_id":"\xff"}')
    await running.report(progress=0.9)
    await running.learner(lambda learner: learner.progress == 0.9)
    text = (await running.http.get("/metrics")).text
    assert 'thumbwheel_bus_records_skipped_total{topic="thumbwheel.learner"}' in text


async def test_status_counts_the_dead_letters_that_nobody_has_settled(running: Running) -> None:
    where = {"topic": "thumbwheel.feedback", "partition": 0}
    given = {"reason": "r", "key": b"", "value": b"", "size": 0, "sha256": "", "created_ms": 1}
    await running.append(DeadLetterSettled(**where, offset=1, outcome="replayed", created_ms=2), DEAD_LETTERS.name)
    for offset in (1, 2, 3, 3):
        await running.append(DeadLettered(**where, offset=offset, **given), DEAD_LETTERS.name)
    await eventually_status(running, 2)
    assert 'thumbwheel_dead_letters_open{topic="thumbwheel.feedback"} 2.0' in (await running.http.get("/metrics")).text
    for offset in (2, 3):
        settled = DeadLetterSettled(**where, offset=offset, outcome="dismissed", created_ms=2)
        await running.append(settled, DEAD_LETTERS.name)
    await eventually_status(running, 0)
    assert 'thumbwheel_dead_letters_open{topic="thumbwheel.feedback"} 0.0' in (await running.http.get("/metrics")).text


async def eventually_status(running: Running, dead_letters: int) -> None:
    for _ in range(1000):
        if (await running.status()).dead_letters == dead_letters:
            return
        await asyncio.sleep(0.01)
    raise AssertionError((await running.status()).dead_letters)


async def test_old_rows_of_the_log_go_when_the_learner_says_that_it_stored_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "EVERY_SECONDS", 0.05)
    app = create_app(Settings(data=tmp_path, log_keep_days=1e-9), IdleEngine())
    async with alive(app), client(app) as http, client(app, key=admin_key(tmp_path)) as admin:
        running = Running(app, IdleEngine(), http, admin)
        for command in ("pause", "resume"):
            await admin.post("/v1/learner/commands", json={"command": command})
        for _ in range(200):
            log = (await running.status()).log
            if log is not None and log.records == 2:
                break
            await asyncio.sleep(0.02)
        assert log is not None
        assert (log.records, log.behind) == (2, None)
        await running.report(stored=StoredOffsets("kafka", {"thumbwheel.control/0": 2}))
        await running.report(stored=StoredOffsets("embedded", {"thumbwheel.control/0": 1, "no/partition": 3}))
        for _ in range(200):
            log = (await running.status()).log
            if log is not None and log.records == 1:
                break
            await asyncio.sleep(0.02)
        assert log is not None
        assert (log.records, log.behind) == (1, 1)
        gone = await admin.get("/internal/log/thumbwheel.control/0?offset=0")
        assert (gone.status_code, gone.json()["code"]) == (410, "offset_out_of_range")
        text = (await http.get("/metrics")).text
    assert 'thumbwheel_log_first_offset{partition="0",topic="thumbwheel.control"} 1.0' in text
    assert "thumbwheel_log_pruned_total 1.0" in text
    assert "thumbwheel_learner_behind 1.0" in text


async def test_a_silent_learner_is_shown_as_stopped(running: Running) -> None:
    await running.report(updated_ms=now_ms() - 61_000)
    assert (await running.learner(lambda _: True)).state == "stopped"


async def test_readiness_follows_engine_and_database(running: Running) -> None:
    ready = await running.http.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "database": "ready", "engine": "ready"})
    running.engine.state = EngineHealth(state="dead", detail="out of memory")
    dead = await running.http.get("/readyz")
    assert (dead.status_code, dead.json()["engine"]) == (503, "dead: out of memory")
    assert (await running.http.get("/healthz")).json() == {"status": "alive"}


async def test_metrics_count_requests_by_route_and_commits(running: Running) -> None:
    await running.http.get("/v1/turns/none")
    await running.http.get("/no/such/path")
    text = (await running.http.get("/metrics")).text
    assert 'thumbwheel_http_requests_total{route="/v1/turns/{completion_id}",status="404"} 1.0' in text
    assert 'thumbwheel_http_requests_total{route="unknown",status="404"} 1.0' in text
    assert "thumbwheel_writer_commits_total" in text
    assert "thumbwheel_chat_overhead_seconds_bucket" in text


async def test_the_writers_queue_is_a_metric_and_empties(running: Running) -> None:
    for _ in range(1000):
        if "thumbwheel_writer_waiting 0.0" in (await running.http.get("/metrics")).text:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("something waits for the writer for ever, or the metric is gone")


async def test_feedback_is_counted_by_kind_and_result(running: Running) -> None:
    turn = {"messages": [{"role": "user", "content": "x"}], "answers": ["y"], "completion_id": "c"}
    await running.http.post("/v1/turns", json=turn)
    thumb = {"kind": "thumb", "completion_id": "c", "value": "up"}
    headers = {"idempotency-key": "k"}
    for body in (thumb, thumb, thumb | {"value": "down"}):
        await running.http.post("/v1/feedback", json=body)
    for _ in range(2):
        made = await running.http.post("/v1/feedback", json=thumb, headers=headers)
    await running.http.delete(f"/v1/feedback/{made.json()['feedback_id']}")
    await running.http.post("/v1/feedback/batch", json={"items": [thumb | {"user": "ann"}, {"kind": "x"}]})
    text = (await running.http.get("/metrics")).text
    for result, count in (("created", 2), ("changed", 2), ("same", 1), ("retracted", 1)):
        assert f'thumbwheel_feedback_total{{kind="thumb",result="{result}"}} {count}.0' in text


async def test_every_response_has_a_request_id(running: Running) -> None:
    for path in ("/healthz", "/no/such/path", "/v1/turns/none", "/docs/openapi.json"):
        first, second = [(await running.http.get(path)).headers["x-request-id"] for _ in range(2)]
        assert first != second
        given = await running.http.get(path, headers={"x-request-id": "mine-1:2.3"})
        assert given.headers["x-request-id"] == "mine-1:2.3"
    for bad in ("with space", "x" * 129, "a\tb"):
        answer = await running.http.get("/healthz", headers={"x-request-id": bad})
        assert answer.headers["x-request-id"] != bad


async def test_the_openapi_document_is_whole(running: Running) -> None:
    document = (await running.http.get("/docs/openapi.json")).json()
    operation = document["paths"]["/v1/feedback"]["post"]
    kinds = operation["requestBody"]["content"]["application/json"]["schema"]["discriminator"]["mapping"]
    assert set(kinds) >= {"thumb", "rating", "flag", "comparison", "correction", "critique", "demonstration"}
    assert {"200", "201", "400", "401", "403", "404", "409", "413", "415", "422", "429", "500", "503"} == set(
        operation["responses"]
    )
    assert operation["parameters"][0]["name"] == "Idempotency-Key"
    unexplained = [
        (path, method)
        for path, item in document["paths"].items()
        for method, does in item.items()
        if not does.get("description")
    ]
    assert unexplained == []
    named = set(references(document))
    assert named
    assert named <= set(document["components"]["schemas"])


async def test_the_docs_page_names_every_route_and_loads_nothing_from_elsewhere(running: Running) -> None:
    answer = await running.http.get("/docs")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    document = (await running.http.get("/docs/openapi.json")).json()
    assert [path for path in document["paths"] if f"<code>{path}</code>" not in answer.text] == []
    assert "<script" not in answer.text
    assert "http://" not in answer.text
    assert "https://" not in answer.text


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [str(node["$ref"]).rpartition("/")[2]] if "$ref" in node else []
        return own + [name for value in node.values() for name in references(value)]
    if isinstance(node, list):
        return [name for value in node for name in references(value)]
    return []


async def test_commands_to_the_learner_travel_as_events(running: Running) -> None:
    sent = await running.admin.post("/v1/learner/commands", json={"command": "now", "stages": ["sft", "ppo"]})
    assert (sent.status_code, sent.json()) == (202, {"command": "now", "stages": ["sft", "ppo"]})
    page = await running.admin.get("/internal/log/thumbwheel.control/0")
    (row,) = msgspec.msgpack.decode(page.content, type=LogPage).rows
    event = msgspec.json.decode(row.value)["event"]
    assert (event["type"], event["command"], event["stages"]) == ("learner_command", "now", ["sft", "ppo"])
    wrong = await running.admin.post("/v1/learner/commands", json={"command": "pause", "stages": ["sft"]})
    assert (wrong.status_code, wrong.json()["field"]) == (400, "stages")
    assert (await running.http.post("/v1/learner/commands", json={"command": "now"})).status_code == 401


async def test_internal_routes_answer_what_is_wrong(running: Running) -> None:
    for path, status in (
        ("thumbwheel.turns/4", 404),
        ("nothing/0", 404),
        ("thumbwheel.turns/0?offset=5", 410),
        ("thumbwheel.turns/0?limit=0", 400),
        ("thumbwheel.turns/0?wait_ms=99999", 400),
    ):
        assert (await running.admin.get(f"/internal/log/{path}")).status_code == status
    json = await running.admin.post("/internal/log", json={"records": []})
    assert json.status_code == 415
    for body in (b"", b"\xc1", msgspec.msgpack.encode({"records": []})):
        broken = await running.admin.post("/internal/log", content=body, headers={"content-type": MSGPACK})
        assert (broken.status_code, broken.headers["content-type"]) == (400, "application/problem+json")
