"""`/v1/feedback` and `/v1/turns` over HTTP, on both databases."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, insert, select
from sqlmodel import SQLModel
from tests.contract.service.store import end_turn, events, open_turn, write
from tests.keyrings import opened, store_beside
from tests.serving import idle_app, serving

from thumbwheel.events import DEFAULT_TENANT, TURNS, TurnCompleted
from thumbwheel_service.db.tables import LogRow

Http = httpx.AsyncClient
UP = {"kind": "thumb", "completion_id": "c1", "value": "up"}


@pytest.fixture
async def http(database: Engine, tmp_path: Path) -> AsyncIterator[Http]:
    app = idle_app(tmp_path, database_url=database.url.render_as_string(hide_password=False))
    async with serving(app) as http:
        await bring(http, "c1")
        yield http


async def bring(http: Http, completion_id: str, answers: tuple[str, ...] = ("A", "B"), **more: Any) -> httpx.Response:
    body = {"messages": [{"role": "user", "content": "hi"}], "answers": answers, "completion_id": completion_id}
    return await http.post("/v1/turns", json=body | {"conversation_id": "conv"} | more)


async def put(http: Http, body: dict[str, Any], **headers: str) -> httpx.Response:
    return await http.post("/v1/feedback", json=body, headers=headers)


async def test_a_thumb_is_new_then_the_same_then_changed(http: Http, database: Engine) -> None:
    first, again, changed = [await put(http, body) for body in (UP, UP, UP | {"value": "down"})]
    assert [r.status_code for r in (first, again, changed)] == [201, 200, 200]
    assert [r.json()["revision"] for r in (first, again, changed)] == [1, 1, 2]
    assert first.json()["feedback_id"] == changed.json()["feedback_id"]
    told = write(database, events)
    assert [(e.revision, e.answer, e.messages[0]["content"]) for e in told] == [(1, "A", "hi"), (2, "A", "hi")]


async def test_retracting_keeps_the_history(http: Http, database: Engine) -> None:
    path = f"/v1/feedback/{(await put(http, UP)).json()['feedback_id']}"
    for _ in range(2):
        gone = await http.delete(path)
        assert (gone.status_code, gone.json()["revision"], gone.json()["retracted"]) == (200, 2, True)
    back = await put(http, UP)
    assert (back.status_code, back.json()["revision"], back.json()["retracted"]) == (200, 3, False)
    assert (await http.get(path)).json() == back.json()
    history = (await http.get(f"{path}/history")).json()["revisions"]
    assert [(r["revision"], r["retracted"]) for r in history] == [(1, False), (2, True), (3, False)]
    assert [(e.revision, e.retracted) for e in write(database, events)] == [(1, False), (2, True), (3, False)]


async def test_every_kind_is_taken_and_read_back(http: Http) -> None:
    await bring(http, "c2")
    on = {"completion_id": "c1"}
    kinds: list[dict[str, Any]] = [
        UP | {"reasons": ["kind"], "comment": "nice", "user": "ann", "metadata": {"k": "v"}, "source": "llm"},
        on | {"kind": "rating", "value": 5},
        on | {"kind": "flag", "value": "unsafe", "comment": "!"},
        on | {"kind": "comparison", "other_completion_id": "c2", "other_choice": 1, "value": "other"},
        on | {"kind": "comparison", "other_text": "T", "value": "tie"},
        on | {"kind": "correction", "text": "better"},
        on | {"kind": "critique", "text": "too long"},
        {"kind": "demonstration", "messages": [{"role": "user", "content": "q"}], "text": "a"},
        on | {"kind": "outcome", "name": "solved", "value": True},
        {"kind": "outcome", "conversation_id": "conv", "name": "minutes", "value": 2.5},
    ]
    for body in kinds:
        answer = await put(http, body)
        assert answer.status_code == 201, answer.text
        assert body.items() <= answer.json()["feedback"].items()
        assert (await http.get(f"/v1/feedback/{answer.json()['feedback_id']}")).json() == answer.json()
    listed = (await http.get("/v1/turns/c1")).json()["feedback"]
    assert sorted(f["kind"] for f in listed) == sorted(b["kind"] for b in kinds if b.get("completion_id"))


async def test_what_differs_in_its_natural_key_stands_side_by_side(http: Http) -> None:
    await bring(http, "c2")
    flag = UP | {"kind": "flag", "value": "unsafe"}
    pair = UP | {"kind": "comparison", "value": "this", "other_completion_id": "c2"}
    outcome = {"kind": "outcome", "completion_id": "c1", "name": "solved", "value": True}
    beside: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (UP, UP | {"user": "ann"}),
        (UP, UP | {"choice": 1}),
        (UP, UP | {"completion_id": "c2"}),
        (UP, UP | {"kind": "rating", "value": 5}),
        (flag, flag | {"value": "biased"}),
        (pair, pair | {"other_choice": 1}),
        (pair, pair | {"other_completion_id": "c1", "other_choice": 1}),
        (pair, {k: v for k, v in pair.items() if k != "other_completion_id"} | {"other_text": "c2"}),
        (outcome, outcome | {"name": "refunded"}),
        (outcome, {k: v for k, v in outcome.items() if k != "completion_id"} | {"conversation_id": "conv"}),
    ]
    for one, other in beside:
        ids = [(await put(http, body)).json()["feedback_id"] for body in (one, other)]
        assert ids[0] != ids[1], other
    replaces = [(UP, {"value": "down"}), (pair, {"value": "tie"}), (outcome, {"value": 0.5}), (flag, {"comment": "x"})]
    for one, change in replaces:
        first, changed = await put(http, one), await put(http, one | change)
        assert (changed.status_code, changed.json()["feedback_id"]) == (200, first.json()["feedback_id"]), change


async def test_events_carry_both_sides_of_a_comparison(http: Http, database: Engine) -> None:
    await bring(http, "c2", ("C", "D"))
    await put(http, UP | {"kind": "comparison", "other_completion_id": "c2", "other_choice": 1, "value": "this"})
    await put(http, UP | {"kind": "comparison", "other_text": "T", "value": "this", "choice": 1})
    told = {(e.answer, e.other_answer) for e in write(database, events)}
    assert told == {("A", "D"), ("B", "T")}


DEEP: list[Any] = []
for _ in range(100):
    DEEP = [DEEP]

WRONG: list[tuple[dict[str, Any], int, str]] = [
    (UP | {"completion_id": "nope"}, 404, "completion_id"),
    (UP | {"choice": 2}, 400, "choice"),
    (UP | {"choice": -1}, 400, "choice"),
    (UP | {"vlaue": "up"}, 400, "vlaue"),
    (UP | {"value": "sideways"}, 400, "value"),
    (UP | {"reasons": ["x"] * 11}, 400, "reasons"),
    (UP | {"reasons": ["x", 3]}, 400, "reasons[1]"),
    (UP | {"comment": "x" * 20_000}, 400, "comment"),
    (UP | {"user": "with space"}, 400, "user"),
    (UP | {"user": "ann\n"}, 400, "user"),
    (UP | {"metadata": {"k": 3}}, 400, "metadata[...]"),
    (UP | {"kind": "applause"}, 400, "kind"),
    ({"completion_id": "c1", "value": "up"}, 400, "kind"),
    ({"kind": "thumb", "value": "up"}, 400, "completion_id"),
    (UP | {"kind": "rating", "value": "5"}, 400, "value"),
    (UP | {"kind": "rating", "value": 6}, 400, "value"),
    (UP | {"kind": "comparison", "value": "this"}, 400, "other_completion_id"),
    (
        UP | {"kind": "comparison", "value": "this", "other_text": "T", "other_completion_id": "c1"},
        400,
        "other_completion_id",
    ),
    (UP | {"kind": "comparison", "value": "this", "other_completion_id": "c1"}, 400, "other_completion_id"),
    (UP | {"kind": "comparison", "value": "this", "other_completion_id": "no"}, 404, "other_completion_id"),
    (
        UP | {"kind": "comparison", "value": "this", "other_completion_id": "c1", "other_choice": 7},
        400,
        "other_choice",
    ),
    ({"kind": "outcome", "name": "x", "value": True}, 400, "completion_id"),
    (
        {"kind": "outcome", "name": "x", "value": True, "completion_id": "c1", "conversation_id": "conv"},
        400,
        "completion_id",
    ),
    ({"kind": "outcome", "name": "x", "value": True, "conversation_id": "no"}, 404, "conversation_id"),
    ({"kind": "demonstration", "messages": [], "text": "a"}, 400, "messages"),
    ({"kind": "demonstration", "messages": [{"role": "king"}], "text": "a"}, 400, "messages[0].role"),
    ({"kind": "demonstration", "messages": [{"role": "user"}], "text": "a"}, 400, "messages[0].content"),
    (
        {"kind": "demonstration", "messages": [{"role": "user", "content": "q", "x": DEEP}], "text": "a"},
        400,
        "messages[0]",
    ),
]


async def test_what_is_wrong_is_named(http: Http) -> None:
    for body, status, field in WRONG:
        answer = await put(http, body)
        problem = answer.json()
        assert answer.headers["content-type"] == "application/problem+json"
        assert (answer.status_code, problem["status"], problem["field"]) == (status, status, field), body


BROKEN = [
    b"",
    b"{",
    b"\xff",
    b"[]",
    b'"text"',
    b'{"kind":"outcome","name":"x","value":1e999,"completion_id":"c1"}',
    b'{"kind":"outcome","name":"x","value":NaN,"completion_id":"c1"}',
    b'{"kind":"correction","text":"\\ud800","completion_id":"c1"}',
    b'{"kind":"demonstration","text":"x","messages":[{"role":' + b"[" * 5000 + b"]" * 5000 + b"}]}",
]


async def test_broken_json_is_a_problem_and_no_failure(http: Http) -> None:
    for raw in BROKEN:
        answer = await http.post("/v1/feedback", content=raw, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json"), raw[:99]


async def test_the_body_must_be_declared_as_json_and_be_small(http: Http) -> None:
    assert (await http.post("/v1/feedback", content=b"{}")).status_code == 415
    form = await http.post("/v1/feedback", data={"kind": "thumb"})
    assert (form.status_code, form.json()["code"]) == (415, "unsupported_media_type")
    large = await http.post("/v1/feedback", content=b" " * (1 << 21), headers={"content-type": "application/json"})
    assert (large.status_code, large.json()["code"]) == (413, "payload_too_large")


async def test_a_chat_that_was_not_stored_takes_no_feedback(http: Http, database: Engine) -> None:
    row = {"completion_id": "silent", "tenant": DEFAULT_TENANT, "created_ms": 1}
    write(database, lambda s: s.execute(insert(SQLModel.metadata.tables["unstored"]), row))
    for answer in (
        await put(http, UP | {"completion_id": "silent"}),
        await put(http, UP | {"kind": "comparison", "other_completion_id": "silent", "value": "tie"}),
        await http.get("/v1/turns/silent"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "not_stored")


async def test_feedback_before_the_end_waits_for_it(http: Http, database: Engine) -> None:
    write(database, lambda s: open_turn(s, DEFAULT_TENANT, "live"))
    on = UP | {"completion_id": "live"}
    assert (await put(http, on)).status_code == 201
    assert (await put(http, on | {"value": "down"})).json()["revision"] == 2
    assert (await put(http, on | {"choice": 2})).status_code == 400
    assert write(database, events) == []
    assert write(database, lambda s: end_turn(s, "live")) == 1
    assert write(database, lambda s: end_turn(s, "live")) == 0
    (told,) = write(database, events)
    assert (told.revision, told.answer, told.turn_status, told.policy_version) == (2, "A", "complete", "v1")
    assert (await put(http, on)).json()["revision"] == 3
    assert [e.revision for e in write(database, events)] == [2, 3]


async def test_a_comparison_waits_for_both_sides(http: Http, database: Engine) -> None:
    for name in ("left", "right"):
        write(database, lambda s, name=name: open_turn(s, DEFAULT_TENANT, name))
    body = {"kind": "comparison", "completion_id": "left", "other_completion_id": "right", "value": "this"}
    assert (await put(http, body)).status_code == 201
    assert write(database, lambda s: end_turn(s, "left")) == 0
    assert write(database, events) == []
    assert write(database, lambda s: end_turn(s, "right")) == 1
    assert [(e.answer, e.other_answer) for e in write(database, events)] == [("A", "A")]


async def test_a_batch_answers_each_item_by_itself(http: Http, database: Engine) -> None:
    items = [UP, UP | {"value": "sideways"}, UP | {"completion_id": "nope"}, UP, UP | {"user": "ann"}]
    answer = await http.post("/v1/feedback/batch", json={"items": items})
    assert answer.status_code == 200
    result = answer.json()["items"]
    assert [(i["index"], i["status"]) for i in result] == [(0, 201), (1, 400), (2, 404), (3, 200), (4, 201)]
    assert [i["problem"]["field"] for i in result if "problem" in i] == ["items[1].value", "items[2].completion_id"]
    assert [(e.feedback.user, e.revision) for e in write(database, events)].count((None, 1)) == 1
    for wrong in ({"items": []}, {"items": 3}, {}, {"items": [UP] * 257}):
        assert (await http.post("/v1/feedback/batch", json=wrong)).status_code == 400


async def test_an_idempotency_key_is_honoured(http: Http, database: Engine) -> None:
    key = {"idempotency-key": "k1"}
    first, again = await put(http, UP, **key), await put(http, UP, **key)
    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert first.status_code == 201
    assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (None, "true")
    assert first.headers["idempotency-key-expiry"] == "86400"
    other = await put(http, UP | {"value": "down"}, **key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    elsewhere = await http.delete(f"/v1/feedback/{first.json()['feedback_id']}", headers=key)
    assert elsewhere.status_code == 422
    assert len(write(database, events)) == 1
    for bad in ("", "x" * 256, "caf\u00e9"):
        answer = await http.post("/v1/feedback", json=UP, headers=[(b"idempotency-key", bad.encode())])
        assert (answer.status_code, answer.json()["field"]) == (400, "Idempotency-Key")


async def test_a_failed_request_does_not_use_up_its_key(http: Http) -> None:
    key, body = {"idempotency-key": "k"}, UP | {"completion_id": "later"}
    assert (await put(http, body, **key)).status_code == 404
    await bring(http, "later")
    assert (await put(http, body, **key)).status_code == 201


async def test_keys_work_on_batches_turns_and_retractions(http: Http) -> None:
    key = {"idempotency-key": "kb"}
    batches = [await http.post("/v1/feedback/batch", json={"items": [UP]}, headers=key) for _ in range(2)]
    assert batches[0].content == batches[1].content
    assert [b["items"][0]["status"] for b in (r.json() for r in batches)] == [201, 201]
    turn = {"messages": [{"role": "user", "content": "x"}], "answers": ["y"]}
    turns = [await http.post("/v1/turns", json=turn, headers={"idempotency-key": "kt"}) for _ in range(2)]
    assert turns[0].json()["completion_id"] == turns[1].json()["completion_id"]
    path = f"/v1/feedback/{batches[0].json()['items'][0]['record']['feedback_id']}"
    gone = await http.delete(path, headers={"idempotency-key": "kd"})
    await put(http, UP)
    replayed = await http.delete(path, headers={"idempotency-key": "kd"})
    assert replayed.content == gone.content
    assert (await http.get(path)).json()["retracted"] is False


async def test_client_chosen_ids_stay_with_what_they_were_given_for(http: Http) -> None:
    body = {"kind": "critique", "completion_id": "c1", "text": "long", "feedback_id": "mine"}
    assert (await put(http, body)).json()["feedback_id"] == "mine"
    assert (await put(http, body | {"text": "too long"})).json()["revision"] == 2
    thumb = (await put(http, UP)).json()["feedback_id"]
    for other in (
        body | {"choice": 1},
        body | {"user": "ann"},
        {"kind": "demonstration", "messages": [{"role": "user", "content": "q"}], "text": "a", "feedback_id": "mine"},
        body | {"feedback_id": thumb},
    ):
        answer = await put(http, other)
        assert (answer.status_code, answer.json()["code"]) == (409, "feedback_id_taken")
    without = [await put(http, {k: v for k, v in body.items() if k != "feedback_id"}) for _ in range(2)]
    assert without[0].json()["feedback_id"] != without[1].json()["feedback_id"]


async def test_turns_come_in_once(http: Http, database: Engine) -> None:
    first = await bring(http, "t", user="ann", metadata={"k": "v"}, model="gpt", created_ms=5)
    assert first.status_code == 201
    again = await bring(http, "t", user="ann", metadata={"k": "v"}, model="gpt", created_ms=5)
    assert (again.status_code, again.json()) == (200, first.json())
    other = await bring(http, "t", ("something", "else"))
    assert (other.status_code, other.json()["code"], other.json()["field"]) == (
        409,
        "completion_id_taken",
        "completion_id",
    )
    rows = write(database, lambda s: s.execute(select(LogRow.value).where(LogRow.topic == TURNS.name)).scalars().all())
    told = [e for e in (opened(value, store_beside(database)) for value in rows) if isinstance(e, TurnCompleted)]
    assert sorted(e.completion_id for e in told) == ["c1", "t"]
    (event,) = [e for e in told if e.completion_id == "t"]
    assert (event.policy_version, event.origin, event.model, event.created_ms) == ("import", "import", "gpt", 5)
    assert [c.text for c in event.choices] == ["A", "B"]


NONSENSE: list[tuple[dict[str, Any], str]] = [
    ({"answers": []}, "answers"),
    ({"answers": [""]}, "answers[0]"),
    ({"messages": [{"role": "user", "content": [{}]}]}, "messages[0].content[0]"),
    ({"created_ms": -1}, "created_ms"),
    ({"created_ms": 10**30}, "created_ms"),
    ({"model": "a\0b"}, "model"),
    ({"policy_version": "v1"}, "policy_version"),
]


async def test_a_turn_that_makes_no_sense_is_refused(http: Http) -> None:
    for more, field in NONSENSE:
        answer = await bring(http, "t", **more)
        assert (answer.status_code, answer.json()["field"]) == (400, field), more


async def test_pages_are_newest_first_and_lose_nothing(http: Http) -> None:
    for i in range(7):
        await bring(http, f"p{i}", created_ms=100 + i // 2, conversation_id="long", user="ann" if i % 2 else "bob")
    seen: list[str] = []
    cursor = None
    while True:
        page = (
            await http.get(
                "/v1/turns", params={"conversation_id": "long", "limit": 3} | ({"cursor": cursor} if cursor else {})
            )
        ).json()
        seen += [t["completion_id"] for t in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == ["p6", "p5", "p4", "p3", "p2", "p1", "p0"]
    assert len((await http.get("/v1/turns", params={"user": "ann"})).json()["items"]) == 3
    for i in range(5):
        await put(http, UP | {"completion_id": f"p{i}"})
    first = (await http.get("/v1/feedback", params={"conversation_id": "long", "limit": 2})).json()
    rest = (await http.get("/v1/feedback", params={"conversation_id": "long", "cursor": first["next"]})).json()
    ids = [f["completion_id"] for f in first["items"] + rest["items"]]
    assert (sorted(ids), rest["next"]) == ([f"p{i}" for i in range(5)], None)


async def test_bad_parameters_are_named(http: Http) -> None:
    for query in ("limit=0", "limit=201", "limit=x", "cursor=x", "cursor=1~%00", "user=%00", "conversation_id=a%20b"):
        answer = await http.get(f"/v1/turns?{query}")
        assert (answer.status_code, answer.json()["field"]) == (400, query.partition("=")[0]), query


async def test_what_is_not_there_is_missing(http: Http) -> None:
    for path in ("/v1/feedback/none", "/v1/feedback/none/history", "/v1/turns/none"):
        assert (await http.get(path)).status_code == 404
        assert (await http.get(path.replace("none", "%00"))).status_code == 400
