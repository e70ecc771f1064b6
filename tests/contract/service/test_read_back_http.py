"""Reading turns and feedback back by every filter, page by page, on both databases."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine
from tests.contract.service.store import open_turn, write
from tests.serving import idle_app, serving

from thumbwheel.events import DEFAULT_TENANT

Http = httpx.AsyncClient
FIRST = 1_700_000_000_000
Params = list[tuple[str, str | int]]


@pytest.fixture
async def http(database: Engine, tmp_path: Path) -> AsyncIterator[Http]:
    """Six imported turns, a minute apart, by two people in two conversations, and two of version v1 long before."""
    app = idle_app(tmp_path, database_url=database.url.render_as_string(hide_password=False))
    for name in ("old-1", "old-2"):
        write(database, lambda s, name=name: open_turn(s, DEFAULT_TENANT, name, conversation="old"))
    async with serving(app) as http:
        for i in range(6):
            body = {
                "messages": [{"role": "user", "content": "hi"}],
                "answers": ["A", "B"],
                "completion_id": f"t{i}",
                "conversation_id": f"conv-{i % 2}",
                "user": "ann" if i < 4 else "bob",
                "created_ms": FIRST + i * 60_000,
            }
            assert (await http.post("/v1/turns", json=body)).status_code == 201
        yield http


async def pages(http: Http, path: str, params: Params, limit: int = 2) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: Params = []
    while True:
        answer = await http.get(path, params=[*params, ("limit", limit), *cursor])
        assert answer.status_code == 200, answer.text
        found += answer.json()["items"]
        following = answer.json()["next"]
        if following is None:
            return found
        cursor = [("cursor", following)]


async def turns(http: Http, *params: tuple[str, str]) -> list[str]:
    return [t["completion_id"] for t in await pages(http, "/v1/turns", [*params])]


async def feedback(http: Http, *params: tuple[str, str]) -> list[str]:
    return [f["feedback_id"] for f in await pages(http, "/v1/feedback", [*params])]


def moment(ms: int, hours: int = 0) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone(timezone(timedelta(hours=hours))).isoformat()


async def test_turns_by_every_filter(http: Http) -> None:
    third = FIRST + 2 * 60_000
    for params, expected in (
        ([], "t5 t4 t3 t2 t1 t0 old-2 old-1"),
        ([("conversation_id", "conv-1")], "t5 t3 t1"),
        ([("user", "ann")], "t3 t2 t1 t0"),
        ([("policy_version", "v1")], "old-2 old-1"),
        ([("policy_version", "import"), ("user", "bob")], "t5 t4"),
        ([("since", moment(third))], "t5 t4 t3 t2"),
        ([("until", moment(third, hours=2))], "t1 t0 old-2 old-1"),
        ([("since", moment(third, hours=-5)), ("until", moment(third + 1))], "t2"),
        ([("completion_id", "t4"), ("completion_id", "t0"), ("completion_id", "none")], "t4 t0"),
        ([("completion_id", "t4"), ("user", "ann")], ""),
        ([("conversation_id", "none")], ""),
    ):
        assert await turns(http, *params) == expected.split(), params


async def give(http: Http, completion_id: str | None, **body: Any) -> dict[str, Any]:
    on = {"completion_id": completion_id} if completion_id else {}
    answer = await http.post("/v1/feedback", json=on | body)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_feedback_by_every_filter(http: Http) -> None:
    up, down = {"kind": "thumb", "value": "up"}, {"kind": "thumb", "value": "down"}
    given = {
        "up": await give(http, "t0", user="ann", **up),
        "down": await give(http, "t1", user="bob", **down),
        "stars": await give(http, "t0", kind="rating", value=4, user="ann"),
        "better": await give(http, "old-1", kind="correction", text="C"),
        "shown": await give(http, None, kind="demonstration", messages=[{"role": "user", "content": "q"}], text="a"),
        "gone": await give(http, "t5", user="cat", **up),
    }
    assert (await http.delete(f"/v1/feedback/{given['gone']['feedback_id']}")).status_code == 200
    names = {record["feedback_id"]: name for name, record in given.items()}
    order = sorted(given, key=lambda n: (given[n]["created_ms"], given[n]["feedback_id"]), reverse=True)
    last = max(record["created_ms"] for record in given.values())
    for params, expected in (
        ([], "up down stars better shown gone"),
        ([("completion_id", "t0")], "up stars"),
        ([("conversation_id", "conv-1")], "down gone"),
        ([("user", "ann")], "up stars"),
        ([("policy_version", "v1")], "better"),
        ([("policy_version", "import"), ("retracted", "false")], "up down stars"),
        ([("kind", "thumb")], "up down gone"),
        ([("kind", "thumb"), ("kind", "correction"), ("kind", "demonstration")], "up down better shown gone"),
        ([("kind", "thumb"), ("kind", "thumb"), ("kind", "rating"), ("user", "ann")], "up stars"),
        ([("retracted", "true")], "gone"),
        ([("kind", "thumb"), ("kind", "flag"), ("retracted", "false")], "up down"),
        ([("since", moment(last + 1))], ""),
        ([("until", moment(last + 1)), ("since", moment(FIRST))], "up down stars better shown gone"),
    ):
        found = [names[identifier] for identifier in await feedback(http, *params)]
        assert found == [name for name in order if name in expected.split()], params


async def test_rows_added_while_paging_move_no_page(http: Http) -> None:
    for i in range(6):
        await give(http, f"t{i}", kind="thumb" if i % 2 else "flag", value="up" if i % 2 else "unsafe")
    kinds: Params = [("kind", "thumb"), ("kind", "flag"), ("limit", 2)]
    before = await feedback(http, ("kind", "thumb"), ("kind", "flag"))
    seen: list[str] = []
    cursor: Params = []
    for i in range(3):
        page = (await http.get("/v1/feedback", params=[*kinds, *cursor])).json()
        seen += [f["feedback_id"] for f in page["items"]]
        cursor = [("cursor", page["next"])]
        await give(http, f"t{i}", kind="thumb", value="down", user=f"late-{i}")
    assert seen == before


async def test_a_wrong_filter_is_named_and_never_ignored(http: Http) -> None:
    for path, query, field in (
        ("/v1/feedback", "kind=applause", "kind"),
        ("/v1/feedback", "kind=thumb&kind=clap", "kind"),
        ("/v1/feedback", "retracted=perhaps", "retracted"),
        ("/v1/feedback", "retracted=null", "retracted"),
        ("/v1/feedback", "user=%00", "user"),
        ("/v1/feedback", "policy_version=", "policy_version"),
        ("/v1/feedback", "since=yesterday", "since"),
        ("/v1/feedback", "until=2026-01-01T00:00:00", "until"),
        ("/v1/feedback", "since=2026-01-01T00:00:00+02:00", "since"),
        ("/v1/feedback", "polcy_version=v1", "polcy_version"),
        ("/v1/turns", "since=1767225600000", "since"),
        ("/v1/turns", "kind=thumb", "kind"),
        ("/v1/turns", "completion_id=a&completion_id=%00", "completion_id"),
        ("/v1/turns", "&".join(["completion_id=a"] * 51), "completion_id"),
    ):
        answer = await http.get(f"{path}?{query}")
        assert answer.headers["content-type"] == "application/problem+json"
        assert (answer.status_code, answer.json()["field"]) == (400, field), query


async def test_the_api_documents_its_filters(http: Http) -> None:
    paths = (await http.get("/docs/openapi.json")).json()["paths"]
    common = {"conversation_id", "user", "policy_version", "since", "until", "cursor", "limit", "completion_id"}
    for path, own in (("/v1/turns", set[str]()), ("/v1/feedback", {"kind", "retracted"})):
        told = {p["name"]: p for p in paths[path]["get"]["parameters"]}
        assert set(told) == common | own
        assert told["since"]["schema"]["format"] == "date-time"
        assert all("type" in p["schema"] for p in told.values()), "a query parameter is never null"
