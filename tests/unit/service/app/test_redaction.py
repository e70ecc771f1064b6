"""Personal data in every field of every request: the caller gets it back, the disk and the log never see it."""

import asyncio
import json
import logging
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from tests.fake_engine import FakeEngine
from tests.keyrings import opened
from tests.serving import serving

from thumbwheel import box
from thumbwheel_service.app import create_app
from thumbwheel_service.db.engine import connect
from thumbwheel_service.db.key_store import SqlKeyStore
from thumbwheel_service.redaction import KINDS
from thumbwheel_service.redaction.patterns import BadPattern
from thumbwheel_service.settings import Settings

SECRETS = ("ann@example.com", "4111 1111 1111 1111", "AB-7303-6615", "+49 151 23456789", "K-555123")
PLAIN = "mail {}, card {}, order {}, call {}, customer {}".format(*SECRETS)
HIDDEN = "mail [email], card [card], order [order], call [phone], customer [customer]"
MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": f"You help {PLAIN}"},
    {"role": "user", "content": [{"type": "text", "text": PLAIN}, {"type": "text", "text": PLAIN}], "name": SECRETS[0]},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "t1", "type": "function", "function": {"name": "f", "arguments": json.dumps({"q": PLAIN})}}
        ],
    },
    {"role": "tool", "tool_call_id": "t1", "content": json.dumps({"found": [PLAIN], "order_id": SECRETS[2]})},
    {"role": "user", "content": PLAIN},
]
METADATA = {"note": PLAIN, "ann@example.com": "x", "order_id": SECRETS[2]}
FEEDBACK: list[dict[str, Any]] = [
    {"kind": "thumb", "value": "down", "reasons": ["style", PLAIN], "comment": PLAIN},
    {"kind": "rating", "value": 2, "comment": PLAIN},
    {"kind": "flag", "value": "other", "comment": PLAIN},
    {"kind": "comparison", "value": "other", "other_text": PLAIN},
    {"kind": "correction", "text": PLAIN},
    {"kind": "critique", "text": PLAIN},
    {"kind": "demonstration", "messages": MESSAGES, "text": PLAIN},
    {"kind": "outcome", "name": "solved", "value": True},
]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "own.toml").write_text("customer = '''\\bK-\\d{6}\\b'''")
    return Settings(data=tmp_path / "data", redact=KINDS, redact_patterns=tmp_path / "own.toml")


async def chat(http: httpx.AsyncClient, **more: Any) -> str:
    """One chat with everything in it; returns its completion id once the turn is stored."""
    body = {"messages": MESSAGES, "metadata": METADATA, "user": "ann", "tools": [{"description": PLAIN}], **more}
    told = await http.post("/v1/chat/completions", json=body)
    assert told.status_code == 200
    completion_id = told.headers["x-thumbwheel-completion-id"]
    if more.get("stream"):
        pieces = [json.loads(line[6:]) for line in told.text.splitlines() if line.startswith("data: {")]
        answer = "".join(piece["choices"][0]["delta"].get("content") or "" for piece in pieces)
    else:
        answer = told.json()["choices"][0]["message"]["content"]
    assert answer == PLAIN
    async with asyncio.timeout(30):
        while True:
            turn = (await http.get(f"/v1/turns/{completion_id}")).json()
            if turn["status"] != "open":
                break
            await asyncio.sleep(0.05)
    assert (turn["redacted"], turn["user"]) == (True, "ann")
    assert turn["messages"][-1]["content"] == turn["choices"][0]["text"] == HIDDEN
    assert "token_ids" not in turn["choices"][0]
    return completion_id


async def judge(http: httpx.AsyncClient, completion_id: str) -> None:
    """Every kind of feedback: twice under one key, once without, in a batch, and taken back."""
    for number, given in enumerate(FEEDBACK):
        about = {} if given["kind"] == "demonstration" else {"completion_id": completion_id}
        body = {**given, **about, "metadata": METADATA, "user": "ann"}
        key = {"idempotency-key": f"{completion_id}/{number}"}
        first, again, bare, batch = [
            await http.post("/v1/feedback", json=body, headers=key),
            await http.post("/v1/feedback", json=body, headers=key),
            await http.post("/v1/feedback", json=body),
            await http.post("/v1/feedback/batch", json={"items": [body, {"kind": PLAIN}]}),
        ]
        assert (first.status_code, again.content) == (201, first.content)
        appends = given["kind"] in ("critique", "demonstration")
        assert (bare.status_code, bare.json()["revision"]) == (201 if appends else 200, 1)
        assert [item["status"] for item in batch.json()["items"]] == [201 if appends else 200, 400]
        path = f"/v1/feedback/{first.json()['feedback_id']}"
        assert (await http.delete(path)).json()["retracted"]
        told = (await http.get(f"{path}/history")).text
        assert not any(secret in told for secret in SECRETS)


async def bring(http: httpx.AsyncClient) -> None:
    body = {"messages": MESSAGES, "answers": [PLAIN, "Nothing."], "metadata": METADATA, "completion_id": "imported"}
    first = await http.post("/v1/turns", json=body, headers={"idempotency-key": "imported"})
    again = await http.post("/v1/turns", json=body)
    other = await http.post("/v1/turns", json={**body, "answers": ["Something else."]})
    assert [told.status_code for told in (first, again, other)] == [201, 200, 409]
    assert first.json()["redacted"]
    assert first.json()["choices"][0]["text"] == again.json()["choices"][0]["text"] == HIDDEN


async def test_no_byte_of_it_reaches_the_disk_or_the_log(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with serving(create_app(settings, FakeEngine(says=lambda _: PLAIN))) as http:
            for more in ({}, {"stream": True}, {"n": 2}):
                await judge(http, await chat(http, **more))
            await bring(http)
            metrics = (await http.get("/metrics")).text
    connection = sqlite3.connect(settings.data / "service.db")
    assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    assert connection.execute("SELECT count(*) FROM log").fetchone()[0] > 20
    connection.close()
    stored = b"".join(path.read_bytes() for path in settings.data.rglob("*") if path.is_file()) + unsealed(settings)
    assert b"[customer]" in stored
    for secret in SECRETS:
        assert secret.encode() not in stored
        assert secret not in caplog.text
        assert f'thumbwheel_redactions_total{{kind="{kind_of(secret)}"}}' in metrics


def unsealed(settings: Settings) -> bytes:
    """Every box of the database, opened."""
    store = SqlKeyStore(connect(settings.keys_database_url))
    database = sqlite3.connect(settings.data / "service.db")
    boxes = {
        "SELECT 'turn/' || completion_id, body FROM completion": 3,
        "SELECT 'feedback/' || feedback_id, body FROM feedback": 8,
        "SELECT 'feedback/' || feedback_id, body FROM feedback_revision": 16,
        "SELECT 'idempotency/' || tenant || '/' || key, body FROM idempotency": 8,
    }
    found: list[bytes] = []
    for query, least in boxes.items():
        rows = database.execute(query).fetchall()
        assert len(rows) > least
        found += [box.unseal(body, store.get(box.key_ids(body)), name) for name, body in rows]
    found += [msgspec.json.encode(opened(value, store)) for (value,) in database.execute("SELECT value FROM log")]
    database.close()
    store.close()
    return b"\n".join(found)


def kind_of(secret: str) -> str:
    return ("email", "card", "order", "phone", "customer")[SECRETS.index(secret)]


async def test_it_is_off_by_default(tmp_path: Path) -> None:
    async with serving(create_app(Settings(data=tmp_path), FakeEngine())) as http:
        body = {"messages": MESSAGES, "answers": [PLAIN]}
        turn = (await http.post("/v1/turns", json=body)).json()
    assert turn["messages"] == MESSAGES
    assert "redacted" not in turn


async def test_what_was_brought_in_before_redaction_is_still_the_same(tmp_path: Path) -> None:
    body = {"messages": MESSAGES, "answers": [PLAIN], "completion_id": "early"}
    for redact, status in (((), 201), (KINDS, 200)):
        async with serving(create_app(Settings(data=tmp_path, redact=redact), FakeEngine())) as http:
            told = await http.post("/v1/turns", json=body)
        assert told.status_code == status


def test_a_bad_pattern_stops_the_start_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text('{"customer": "K-("}')
    settings = Settings(data=tmp_path / "data", redact_patterns=tmp_path / "own.json")
    with pytest.raises(BadPattern, match="'customer'"):
        create_app(settings, FakeEngine())
    assert not settings.data.exists()
