"""The learner's questions over HTTP, on both databases: heard on the bus, listed, answered once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from sqlalchemy import Engine, select, update
from tests.contract.service.store import events, write
from tests.keyrings import keyring_beside
from tests.serving import alive, client, idle_app

from thumbwheel.events import (
    DEFAULT_TENANT,
    REVIEWS,
    Event,
    ReviewAsked,
    ReviewMark,
    ReviewWithdrawn,
    decode,
    encode,
    now_ms,
    topic_and_key,
    wrap,
)
from thumbwheel.internal import MSGPACK, LogAppend, LogEntry
from thumbwheel.sealed import ReviewTexts, seal_review
from thumbwheel.types import Comparison
from thumbwheel_service.db.keyring import Subject
from thumbwheel_service.db.tables import LogRow, ReviewRow, table_of

Http = httpx.AsyncClient
_review = table_of(ReviewRow)


@pytest.fixture
async def http(database: Engine, tmp_path: Path) -> AsyncIterator[Http]:
    app = idle_app(tmp_path, database_url=database.url.render_as_string(hide_password=False))
    async with alive(app), client(app) as http:
        http.headers["authorization"] = f"Bearer {(tmp_path / 'admin.key').read_text().strip()}"
        for name in ("c1", "c2", "c3"):
            body: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], "answers": ["Hello."]}
            body |= {"completion_id": name, "conversation_id": f"of-{name}", "user": "ann" if name == "c3" else "ben"}
            assert (await http.post("/v1/turns", json=body)).status_code == 201
        yield http


def question(database: Engine, review_id: str, completion_id: str = "c1", **more: Any) -> ReviewAsked:
    """As the learner asks it; `other` makes it a comparison."""
    other = more.pop("other", None)
    person = Subject("user", "ann" if completion_id == "c3" else "ben")
    keys = write(database, lambda s: keyring_beside(database).bound(s.connection(), DEFAULT_TENANT, [person]))
    given: dict[str, Any] = {
        "review_id": review_id,
        "kind": "judge" if other is None else "compare",
        "conversation_id": f"of-{completion_id}",
        "completion_id": completion_id,
        "acquisition": "bald",
        "score": 0.5,
        "random": False,
        "reward_model": "rm-1",
        "asked_ms": now_ms(),
        "expires_ms": now_ms() + 60_000,
        "box": seal_review(review_id, ReviewTexts(other_answer=other), keys),
    }
    return ReviewAsked(**given | more)


async def tell(http: Http, *told: Event) -> None:
    """What the learner appends to the bus."""
    entries: list[LogEntry] = []
    for event in told:
        topic, key = topic_and_key(event)
        envelope = wrap(event)
        entries.append(LogEntry(topic.name, key, envelope.event_id, encode(envelope)))
    body = msgspec.msgpack.encode(LogAppend(entries))
    assert (await http.post("/internal/log", content=body, headers={"content-type": MSGPACK})).status_code == 200


async def listed(http: Http, count: int, **parameters: Any) -> list[dict[str, Any]]:
    """Open questions, once there are so many."""
    for _ in range(400):
        answer = await http.get("/v1/reviews", params=parameters)
        assert answer.status_code == 200, answer.text
        if len(items := answer.json()["items"]) == count:
            return items
        await asyncio.sleep(0.02)
    raise AssertionError(f"never {count} questions: {items}")


async def give(http: Http, review_id: str, body: dict[str, Any], **headers: str) -> httpx.Response:
    return await http.post(f"/v1/reviews/{review_id}/answer", json=body, headers=headers)


async def test_a_question_is_listed_with_the_conversation_and_its_answers(http: Http, database: Engine) -> None:
    one = question(database, "rv-1", asked_ms=1)
    await tell(http, one, question(database, "rv-2", "c2", asked_ms=2, other="Good day."))
    newest, oldest = await listed(http, 2)
    assert (newest["review_id"], newest["kind"], newest["other_answer"]) == ("rv-2", "compare", "Good day.")
    assert oldest == {
        "review_id": "rv-1", "kind": "judge", "conversation_id": "of-c1", "completion_id": "c1", "choice": 0,
        "policy_version": "import", "messages": [{"role": "user", "content": "hi"}], "answer": "Hello.",
        "other_answer": None, "acquisition": "bald", "score": 0.5, "random": False, "reward_model": "rm-1",
        "created_ms": 1, "expires_ms": one.expires_ms,
    }  # fmt: skip


async def test_questions_come_page_by_page(http: Http, database: Engine) -> None:
    await tell(http, *(question(database, f"rv-{n}", f"c{n}", asked_ms=n) for n in (1, 2, 3)))
    await listed(http, 3)
    first = (await http.get("/v1/reviews", params={"limit": 2})).json()
    rest = (await http.get("/v1/reviews", params={"limit": 2, "cursor": first["next"]})).json()
    assert [item["review_id"] for item in first["items"] + rest["items"]] == ["rv-3", "rv-2", "rv-1"]
    assert rest["next"] is None


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"value": "down", "reasons": ["style"], "comment": "curt", "user": "agent"}, "thumb"),
        ({"correction": "Hello there."}, "correction"),
    ],
)
async def test_an_answer_is_ordinary_feedback_that_names_its_question(
    http: Http, database: Engine, body: dict[str, Any], kind: str
) -> None:
    await tell(http, question(database, "rv-1", random=True))
    await listed(http, 1)
    answer = await give(http, "rv-1", body)
    assert (answer.status_code, answer.json()["kind"]) == (201, kind)
    assert (await http.get(f"/v1/feedback/{answer.json()['feedback_id']}")).json() == answer.json()
    (event,) = write(database, events)
    assert event.review == ReviewMark(review_id="rv-1", random=True)
    assert (event.completion_id, event.answer) == ("c1", "Hello.")
    assert await listed(http, 0) == []


async def test_a_comparison_is_a_preference_over_the_second_answer(http: Http, database: Engine) -> None:
    await tell(http, question(database, "rv-1", other="Good day."))
    await listed(http, 1)
    assert (await give(http, "rv-1", {"value": "other", "user": "agent"})).status_code == 201
    (event,) = write(database, events)
    assert isinstance(event.feedback, Comparison)
    assert (event.feedback.value, event.other_answer) == ("other", "Good day.")
    assert event.review == ReviewMark(review_id="rv-1", random=False)


async def test_an_answer_stands_beside_what_the_same_person_said_unasked(http: Http, database: Engine) -> None:
    await tell(http, question(database, "rv-1"))
    await listed(http, 1)
    unasked = await http.post("/v1/feedback", json={"kind": "thumb", "completion_id": "c1", "value": "up"})
    asked = await give(http, "rv-1", {"value": "up"})
    assert (unasked.status_code, asked.status_code) == (201, 201)
    assert unasked.json()["feedback_id"] != asked.json()["feedback_id"]
    assert "review" not in (await http.get(f"/v1/feedback/{unasked.json()['feedback_id']}")).json()


async def test_taking_an_answer_back_still_names_the_question(http: Http, database: Engine) -> None:
    await tell(http, question(database, "rv-1", random=True))
    await listed(http, 1)
    given = (await give(http, "rv-1", {"value": "up"})).json()
    assert (await http.delete(f"/v1/feedback/{given['feedback_id']}")).json()["retracted"]
    marks = [(event.retracted, event.review) for event in write(database, events)]
    assert marks == [(gone, ReviewMark(review_id="rv-1", random=True)) for gone in (False, True)]


async def test_only_the_first_answer_counts_and_its_repetition_is_answered_alike(http: Http, database: Engine) -> None:
    await tell(http, question(database, "rv-1"))
    await listed(http, 1)
    key = {"idempotency-key": "k"}
    tries = await asyncio.gather(*(give(http, "rv-1", {"value": "up", "user": f"agent-{n}"}) for n in range(5)))
    assert sorted(answer.status_code for answer in tries) == [201, 409, 409, 409, 409]
    assert {answer.json()["code"] for answer in tries if answer.status_code == 409} == {"review_answered"}
    await tell(http, question(database, "rv-2", "c2"))
    await listed(http, 1)
    one, same = [await give(http, "rv-2", {"value": "down"}, **key) for _ in range(2)]
    assert (one.status_code, same.status_code, one.json()) == (201, 201, same.json())
    assert same.headers["idempotency-replayed"] == "true"
    assert len(write(database, events)) == 2


async def test_the_bus_hears_that_a_question_is_answered_instead_of_the_question(http: Http, database: Engine) -> None:
    await tell(http, question(database, "rv-1"))
    await listed(http, 1)
    await give(http, "rv-1", {"value": "up"})
    values = write(
        database, lambda s: list(s.execute(select(LogRow.value).where(LogRow.topic == REVIEWS.name)).scalars())
    )
    (event,) = [decode(value).event for value in values]
    assert isinstance(event, ReviewWithdrawn)
    assert (event.review_id, event.reason) == ("rv-1", "answered")


@pytest.mark.parametrize(
    ("reason", "code"),
    [("expired", "review_expired"), ("reranked", "review_withdrawn"), ("erased", "review_withdrawn")],
)
async def test_a_withdrawn_question_cannot_be_answered(http: Http, database: Engine, reason: Any, code: str) -> None:
    asked = question(database, "rv-1")
    await tell(http, asked)
    await listed(http, 1)
    await tell(http, ReviewWithdrawn(review_id="rv-1", reason=reason, created_ms=2))
    await listed(http, 0)
    await tell(http, asked, question(database, "rv-2", "c2"))
    assert [item["review_id"] for item in await listed(http, 1)] == ["rv-2"]
    answer = await give(http, "rv-1", {"value": "up"})
    assert (answer.status_code, answer.json()["code"]) == (409, code)
    assert write(database, events) == []


async def test_a_question_ends_by_the_clock_even_when_the_learner_is_away(http: Http, database: Engine) -> None:
    await tell(http, question(database, "rv-1"), question(database, "rv-2", "c2"))
    await listed(http, 2)
    write(
        database, lambda s: s.execute(update(_review).where(_review.c.review_id == "rv-1").values(expires_ms=now_ms()))
    )
    assert [item["review_id"] for item in await listed(http, 1)] == ["rv-2"]
    answer = await give(http, "rv-1", {"value": "up"})
    assert (answer.status_code, answer.json()["code"]) == (409, "review_expired")


async def test_questions_that_come_late_or_about_nothing_are_left_alone(http: Http, database: Engine) -> None:
    late = question(database, "rv-1", expires_ms=now_ms() - 1)
    nothing = question(database, "rv-2", completion_id="unknown")
    unheard = ReviewWithdrawn(review_id="rv-9", reason="expired", created_ms=1)
    await tell(http, late, nothing, unheard, question(database, "rv-3"))
    assert [item["review_id"] for item in await listed(http, 1)] == ["rv-3"]
    assert (await give(http, "rv-2", {"value": "up"})).json()["code"] == "unknown_review"


@pytest.mark.parametrize(
    ("other", "body"),
    [
        (None, {}),
        (None, {"value": "up", "correction": "Hello."}),
        (None, {"value": "this"}),
        (None, {"correction": "Hello.", "comment": "!"}),
        ("Good day.", {"value": "up"}),
        ("Good day.", {"correction": "Hello."}),
        ("Good day.", {"value": "tie", "reasons": ["style"]}),
        (None, {"value": "perhaps"}),
        (None, {"valeu": "up"}),
    ],
)
async def test_an_answer_that_does_not_fit_is_refused_and_closes_nothing(
    http: Http, database: Engine, other: str | None, body: dict[str, Any]
) -> None:
    await tell(http, question(database, "rv-1", other=other))
    await listed(http, 1)
    answer = await give(http, "rv-1", body)
    assert answer.status_code == 400, answer.text
    assert len(await listed(http, 1)) == 1


async def test_the_questions_about_somebody_go_with_them(http: Http, database: Engine) -> None:
    await tell(http, question(database, "rv-1"), question(database, "rv-3", "c3", other="Good day."))
    await listed(http, 2)
    assert (await http.delete("/v1/users/ann")).status_code == 200
    assert [item["review_id"] for item in await listed(http, 1)] == ["rv-1"]
    assert (await give(http, "rv-3", {"value": "this"})).status_code == 404
    assert write(database, lambda s: list(s.execute(select(_review.c.review_id)).scalars())) == ["rv-1"]


async def test_another_tenant_sees_and_answers_nothing(http: Http, database: Engine) -> None:
    await tell(http, question(database, "rv-1"))
    await listed(http, 1)
    write(database, lambda s: s.execute(update(_review).values(tenant="acme")))
    assert await listed(http, 0) == []
    assert (await give(http, "rv-1", {"value": "up"})).status_code == 404


async def test_questions_need_a_key_where_chats_do(http: Http, database: Engine, tmp_path: Path) -> None:
    for answer in (
        await http.get("/v1/reviews", headers={"authorization": "Bearer tw-wrong"}),
        await give(http, "rv-1", {"value": "up"}, authorization="Bearer tw-wrong"),
    ):
        assert answer.status_code == 401
    assert (await http.get("/v1/reviews", params={"kind": "judge"})).status_code == 400
