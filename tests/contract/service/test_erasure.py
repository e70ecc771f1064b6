"""Somebody is forgotten, over HTTP and on both databases: rows, keys, receipts, and again after a restore."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, select
from tests.contract.service.store import open_turn, write
from tests.keyrings import opened, store_beside
from tests.serving import alive, client, idle_app

from thumbwheel.box import Erased
from thumbwheel.events import DEFAULT_TENANT, ErasureApplied, PersonErased, decode, wrap
from thumbwheel.types import AffectedVersion
from thumbwheel_service.db.key_store import KeysUnavailable, SqlKeyStore
from thumbwheel_service.db.keyring import Subject
from thumbwheel_service.db.tables import CompletionRow, FeedbackRow, LogRow, PersonRow
from thumbwheel_service.erasure.repository import subject_digest
from thumbwheel_service.log.append import append_events

Http = httpx.AsyncClient
HI = [{"role": "user", "content": "where is my parcel?"}]


def app_of(database: Engine, folder: Path) -> Any:
    return idle_app(folder, database_url=database.url.render_as_string(hide_password=False))


@pytest.fixture
async def http(database: Engine, tmp_path: Path) -> AsyncIterator[Http]:
    app = app_of(database, tmp_path)
    async with alive(app), client(app, key=None) as http:
        http.headers["authorization"] = f"Bearer {(tmp_path / 'admin.key').read_text().strip()}"
        await bring(http, "ann-1", "talk", user="ann")
        await bring(http, "ann-2", "group", user="ann")
        await bring(http, "bob-1", "group", user="bob")
        await bring(http, "anon-1", "nobody")
        yield http


async def bring(http: Http, completion_id: str, conversation: str, **more: Any) -> None:
    body = {"messages": HI, "answers": ["On its way."], "completion_id": completion_id, "conversation_id": conversation}
    assert (await http.post("/v1/turns", json=body | more)).status_code == 201


async def give(http: Http, key: str | None = None, **body: Any) -> httpx.Response:
    headers = {} if key is None else {"idempotency-key": key}
    answer = await http.post("/v1/feedback", json=body, headers=headers)
    assert answer.status_code in (200, 201), answer.text
    return answer


async def everything(http: Http) -> None:
    """Ann is answered, speaks, and is spoken of; so are others."""
    await give(http, kind="correction", completion_id="ann-1", text="It is lost.", user="agent")
    await give(http, kind="thumb", completion_id="ann-1", value="up")
    await give(http, kind="thumb", completion_id="bob-1", value="down", user="ann")
    await give(http, kind="comparison", completion_id="bob-1", value="this", other_completion_id="ann-2", user="agent")
    await give(http, kind="demonstration", messages=HI, text="Tomorrow.", user="ann")
    await give(http, kind="outcome", name="solved", value=True, conversation_id="talk")
    await give(http, kind="thumb", completion_id="bob-1", value="up", user="bob")
    await give(http, kind="outcome", name="solved", value=True, conversation_id="group")
    await give(http, kind="demonstration", messages=HI, text="Yes.")


def log(database: Engine) -> list[bytes]:
    return write(database, lambda s: list(s.execute(select(LogRow.value)).scalars()))


async def test_all_that_concerns_somebody_goes_and_nothing_else(http: Http, database: Engine) -> None:
    await everything(http)
    before = log(database)
    answer = await http.delete("/v1/users/ann")
    assert answer.status_code == 200
    receipt = answer.json()
    assert (receipt["turns"], receipt["feedback"], receipt["state"]) == (2, 6, "erased")
    assert receipt["subject_sha256"] == subject_digest(DEFAULT_TENANT, Subject("user", "ann"))
    assert receipt["deadline_ms"] - receipt["created_ms"] == 7 * 86_400_000
    left = write(database, lambda s: set(s.execute(select(CompletionRow.completion_id)).scalars()))
    assert left == {"bob-1", "anon-1"}
    assert (await http.get("/v1/turns/ann-1")).status_code == 404
    kinds = [record["kind"] for record in (await http.get("/v1/feedback")).json()["items"]]
    assert sorted(kinds) == ["demonstration", "outcome", "thumb"]
    people = write(database, lambda s: set(s.execute(select(PersonRow.subject)).scalars()))
    assert not any("ann" in name or "talk" in name for name in people)
    closed = 0
    for value in before:
        try:
            opened(value, store_beside(database))
        except Erased:
            closed += 1
    assert closed == 2 + 6


async def test_the_log_tells_of_it_by_keys_alone(http: Http, database: Engine) -> None:
    await everything(http)
    await http.delete("/v1/users/ann")
    (event,) = [e for e in (decode(value).event for value in log(database)) if isinstance(e, PersonErased)]
    assert len(event.keys) == 2, "her own, and that of the conversation that only she had"
    assert store_beside(database).get(event.keys) == {}


async def test_again_gives_the_same_receipt_and_nobody_is_404(http: Http) -> None:
    first = (await http.delete("/v1/users/ann")).json()
    assert (await http.delete("/v1/users/ann")).json() == first
    assert (await http.get(f"/v1/erasures/{first['erasure_id']}")).json() == first
    assert (await http.get("/v1/erasures")).json() == {"erasures": [first]}
    missing = await http.delete("/v1/users/nobody-like-this")
    assert (missing.status_code, missing.json()["code"]) == (404, "unknown_person")
    unknown = await http.get("/v1/erasures/er-unknown")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_erasure")


async def test_who_comes_back_is_somebody_new(http: Http) -> None:
    first = (await http.delete("/v1/users/ann")).json()
    await bring(http, "ann-3", "later", user="ann")
    assert (await http.get("/v1/turns/ann-3")).json()["messages"] == HI
    second = (await http.delete("/v1/users/ann")).json()
    assert second["erasure_id"] != first["erasure_id"]
    assert second["turns"] == 1


async def test_an_anonymous_conversation_is_erased_by_its_id(http: Http) -> None:
    await give(http, kind="thumb", completion_id="anon-1", value="down", comment="no")
    receipt = (await http.delete("/v1/conversations/nobody")).json()
    assert (receipt["turns"], receipt["feedback"]) == (1, 1)
    taken = await http.delete("/v1/conversations/group")
    assert (taken.status_code, taken.json()["code"]) == (409, "conversation_has_users")
    assert "ann" in taken.json()["detail"]


async def test_an_answer_kept_for_a_retry_is_forgotten_too(http: Http) -> None:
    body = {"kind": "thumb", "completion_id": "ann-1", "value": "up", "comment": "my parcel", "user": "agent"}
    first = await give(http, "once", **body)
    assert (await give(http, "once", **body)).content == first.content
    await http.delete("/v1/users/ann")
    again = await http.post("/v1/feedback", json=body, headers={"idempotency-key": "once"})
    assert again.status_code == 404


async def test_a_chat_that_is_still_going_on_is_not_stored(http: Http, database: Engine) -> None:
    def begin(session: Any) -> None:
        open_turn(session, DEFAULT_TENANT, "going-on", conversation="talk")
        session.connection().exec_driver_sql("UPDATE completion SET \"user\"='ann' WHERE completion_id='going-on'")

    write(database, begin)
    assert (await http.delete("/v1/users/ann")).json()["turns"] == 3
    assert (await http.get("/v1/turns/going-on")).status_code == 404


async def test_the_learner_s_word_completes_it(http: Http, database: Engine) -> None:
    erasure_id = (await http.delete("/v1/users/ann")).json()["erasure_id"]
    versions = [AffectedVersion(version="v1", examples=3, share=0.25)]
    applied = ErasureApplied(erasure_id=erasure_id, turns=2, feedback=0, versions=versions, created_ms=77)
    write(database, lambda s: append_events(s, [wrap(applied, event_id="applied")]))
    for _ in range(200):
        found = (await http.get(f"/v1/erasures/{erasure_id}")).json()
        if found["state"] == "complete":
            break
        await asyncio.sleep(0.1)
    assert (found["applied_ms"], found["versions"][0]["share"]) == (77, 0.25)


async def test_a_key_store_that_is_away_delays_it_and_the_receipt_says_so(
    http: Http, database: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(self: SqlKeyStore, ids: object, why: str) -> None:
        raise KeysUnavailable("the key store does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(SqlKeyStore, "destroy", away)
        receipt = (await http.delete("/v1/users/ann")).json()
    assert receipt["state"] == "erasing"
    assert (await http.get("/v1/turns/ann-1")).status_code == 404
    app = app_of(database, tmp_path / "other")
    async with alive(app), client(app, key=(tmp_path / "other" / "admin.key").read_text().strip()) as other:
        for _ in range(100):
            found = (await other.get(f"/v1/erasures/{receipt['erasure_id']}")).json()
            if found["state"] == "erased":
                break
            await asyncio.sleep(0.05)
    assert found["state"] == "erased"


async def test_a_restored_database_forgets_again_at_the_next_start(database: Engine, tmp_path: Path) -> None:
    """As after restoring a back-up of before: the binding and the rows are there, the key is not."""
    key_file = tmp_path / "admin.key"
    app = app_of(database, tmp_path)
    async with alive(app), client(app) as http:
        http.headers["authorization"] = f"Bearer {key_file.read_text().strip()}"
        await bring(http, "ann-1", "talk", user="ann")
        await give(http, kind="thumb", completion_id="ann-1", value="up", user="agent")
        rows = write(database, lambda s: [r._asdict() for r in s.execute(select(PersonRow.__table__))])  # type: ignore[attr-defined]
        kept = write(database, lambda s: [r._asdict() for r in s.execute(select(CompletionRow.__table__))])  # type: ignore[attr-defined]
        await http.delete("/v1/users/ann")

    def restore(session: Any) -> None:
        tables = (PersonRow.__table__, CompletionRow.__table__)  # type: ignore[attr-defined]
        for table, values in zip(tables, (rows, kept), strict=True):
            held = set(session.execute(select(table.primary_key.columns.values()[-1])).scalars())
            column = table.primary_key.columns.values()[-1].name
            session.execute(table.insert(), [row for row in values if row[column] not in held])

    write(database, restore)
    app = app_of(database, tmp_path)
    async with alive(app), client(app) as http:
        http.headers["authorization"] = f"Bearer {key_file.read_text().strip()}"
        assert (await http.get("/v1/turns/ann-1")).status_code == 404
    assert write(database, lambda s: s.execute(select(FeedbackRow.feedback_id)).all()) == []


async def test_a_restored_key_store_destroys_again_at_the_next_start(database: Engine, tmp_path: Path) -> None:
    key_file, store = tmp_path / "admin.key", store_beside(database)
    app = app_of(database, tmp_path)
    async with alive(app), client(app) as http:
        http.headers["authorization"] = f"Bearer {key_file.read_text().strip()}"
        await bring(http, "ann-1", "talk", user="ann")
        (key_id,) = write(database, lambda s: s.execute(select(PersonRow.key_id)).scalars().all())
        secret = store.get([key_id])[key_id]
        await http.delete("/v1/users/ann")
    with store._engine.connect().execution_options(writes=True) as connection, connection.begin():
        connection.execute(store._keys.insert(), [{"key_id": key_id, "secret": secret}])
        connection.execute(store._gone.delete())
    assert store.get([key_id])
    async with alive(app_of(database, tmp_path)):
        assert store.get([key_id]) == {}
        assert store.all_destroyed("erased") == {key_id}


async def test_chat_keys_may_not_erase(http: Http) -> None:
    del http.headers["authorization"]
    for method, path in (("DELETE", "/v1/users/ann"), ("GET", "/v1/erasures"), ("DELETE", "/v1/conversations/nobody")):
        assert (await http.request(method, path)).status_code == 401
    assert (await http.post("/internal/keys", content=b"")).status_code == 401
