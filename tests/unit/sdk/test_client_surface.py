"""What the clients send, what they return, and that both have the same surface."""

import inspect
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.unit.sdk.fake_service import AT_ONCE, CHAT, RECORD, Scripted, ok, problem

import thumbwheel
from thumbwheel import (
    ApiError,
    AsyncClient,
    BadRequest,
    Client,
    ConfigurationError,
    Forbidden,
    PayloadTooLarge,
    ServerError,
    Unauthorized,
    UnexpectedAnswer,
)
from thumbwheel.types import Thumb

TURN = {
    "completion_id": "t-1",
    "conversation_id": "conv-1",
    "policy_version": "import",
    "status": "complete",
    "origin": "import",
    "created_ms": 5,
}
POLICIES = {"live": "p-2", "epoch": 4, "policies": [{"version": "p-2", "state": "live"}]}


def client(transport: Scripted, **options: Any) -> Client:
    return Client("http://service/", transport=transport, backoff=AT_ONCE, **options)


def test_a_chat_is_typed_and_keeps_the_raw_body() -> None:
    transport = Scripted(ok(CHAT))
    result = client(transport).chat("hi", conversation_id="conv-9", temperature=0.2, seed=1, model=None)
    assert (result.text, result.completion_id, result.policy_version) == ("hello", "chatcmpl-1", "p-3")
    assert result.usage is not None
    assert result.usage.completion_tokens == 1
    assert result.raw["object"] == "chat.completion"
    assert transport.body() == {"messages": [{"role": "user", "content": "hi"}], "temperature": 0.2, "seed": 1}
    assert transport.requests[0].headers["x-thumbwheel-conversation-id"] == "conv-9"
    assert transport.requests[0].url == "http://service/v1/chat/completions"


def test_ids_come_from_the_headers_when_the_body_has_none() -> None:
    body = {name: value for name, value in CHAT.items() if name != "thumbwheel"}
    headers = {"x_thumbwheel_completion_id": "c-7", "x_thumbwheel_policy_version": "p-8"}
    result = client(Scripted(ok(body, **headers))).chat("hi")
    assert (result.completion_id, result.policy_version, result.conversation_id) == ("c-7", "p-8", "")


def test_a_conversation_id_that_no_header_can_carry_is_refused_here() -> None:
    with pytest.raises(ConfigurationError, match="conversation_id"):
        client(Scripted(ok(CHAT))).chat("hi", conversation_id="zwei Wörter")


FEEDBACK = [
    (lambda f: f.thumb("c", "down", reasons=["style"], comment="meh", user="ann"), "thumb", {"value": "down"}),
    (lambda f: f.rating("c", 4, choice=1), "rating", {"value": 4, "choice": 1}),
    (lambda f: f.flag("c", "unsafe", comment="!"), "flag", {"value": "unsafe", "comment": "!"}),
    (lambda f: f.comparison("c", "tie", other_text="b"), "comparison", {"value": "tie", "other_text": "b"}),
    (lambda f: f.correction("c", "better"), "correction", {"text": "better"}),
    (lambda f: f.critique("c", "wrong", feedback_id="k-1"), "critique", {"text": "wrong", "feedback_id": "k-1"}),
    (lambda f: f.demonstration("hi", "hello", source="llm"), "demonstration", {"text": "hello", "source": "llm"}),
    (lambda f: f.outcome("solved", True, conversation_id="v"), "outcome", {"value": True, "conversation_id": "v"}),
]


@pytest.mark.parametrize(("give", "kind", "fields"), FEEDBACK, ids=[kind for _, kind, _ in FEEDBACK])
def test_every_kind_of_feedback_is_a_method(give: Any, kind: str, fields: dict[str, Any]) -> None:
    transport = Scripted(ok(RECORD, 201))
    give(client(transport).feedback)
    body = transport.body()
    assert body["kind"] == kind
    assert {name: body[name] for name in fields} == fields
    assert transport.requests[0].url.path == "/v1/feedback"


def test_a_batch_reports_each_item() -> None:
    answer = {"items": [{"index": 0, "status": 201, "record": RECORD}, {"index": 1, "status": 404, "problem": P}]}
    transport = Scripted(ok(answer))
    up = Thumb(completion_id="c", value="up")
    result = client(transport).feedback.batch([up, up])
    assert [item.status for item in result.items] == [201, 404]
    assert result.items[1].problem is not None
    assert result.items[1].problem.detail == "gone"
    assert len(transport.body()["items"]) == 2


P = {"title": "Not found", "status": 404, "detail": "gone"}


REVIEW = {
    "review_id": "rv-1",
    "kind": "compare",
    "conversation_id": "conv-1",
    "completion_id": "c",
    "choice": 0,
    "policy_version": "p-3",
    "messages": [{"role": "user", "content": "hi"}],
    "answer": "hello",
    "other_answer": "good day",
    "acquisition": "bald",
    "score": 0.2,
    "random": False,
    "reward_model": "rm-1",
    "created_ms": 5,
    "expires_ms": 9,
}


def test_open_questions_are_listed_page_by_page_and_answered_once_per_key() -> None:
    transport = Scripted(ok({"items": [REVIEW], "next": "c2"}), ok({"items": []}), ok(RECORD, 201), ok(RECORD, 201))
    reviews = client(transport).reviews
    assert [review.other_answer for review in reviews.list(page_size=1)] == ["good day"]
    reviews.answer("rv/1", "other", user="agent-7", idempotency_key="k")
    reviews.answer("rv-2", correction="Good day.")
    assert [request.url.raw_path for request in transport.requests] == [
        b"/v1/reviews?limit=1",
        b"/v1/reviews?limit=1&cursor=c2",
        b"/v1/reviews/rv%2F1/answer",
        b"/v1/reviews/rv-2/answer",
    ]
    assert transport.body(2) == {"value": "other", "user": "agent-7"}
    assert transport.requests[2].headers["idempotency-key"] == "k"
    assert transport.body(3) == {"correction": "Good day."}


async def test_questions_of_the_asyncio_client() -> None:
    transport = Scripted(ok({"items": [REVIEW]}), ok(RECORD, 201))
    async with AsyncClient("http://service", transport=transport) as service:
        found = [review async for review in service.reviews.list()]
        given = await service.reviews.answer(found[0].review_id, "tie")
    assert given.feedback_id == RECORD["feedback_id"]


def test_paths_are_quoted() -> None:
    transport = Scripted(ok(RECORD))
    client(transport).feedback.retract("a/b?c")
    assert transport.requests[0].method == "DELETE"
    assert transport.requests[0].url.raw_path == b"/v1/feedback/a%2Fb%3Fc"


def test_an_empty_id_is_not_the_list() -> None:
    with pytest.raises(ConfigurationError, match="feedback_id"):
        client(Scripted(ok(RECORD))).feedback.get("")


def test_pages_are_fetched_as_the_iterator_reaches_them() -> None:
    transport = Scripted(ok({"items": [TURN, TURN], "next": "c2"}), ok({"items": [TURN], "next": None}))
    turns = client(transport).turns.list(conversation_id="conv-1", page_size=2)
    assert next(turns).completion_id == "t-1"
    assert len(transport.requests) == 1
    assert len(list(turns)) == 2
    assert dict(transport.requests[0].url.params) == {"conversation_id": "conv-1", "limit": "2"}
    assert transport.requests[1].url.params["cursor"] == "c2"


async def test_pages_of_the_asyncio_client() -> None:
    transport = Scripted(ok({"items": [RECORD], "next": "c2"}), ok({"items": [RECORD]}))
    async with AsyncClient("http://service", transport=transport) as service:
        found = [record async for record in service.feedback.list(completion_id="c")]
    assert len(found) == 2


def test_what_is_read_back_can_be_narrowed() -> None:
    transport = Scripted(ok({"items": []}))
    service = client(transport)
    noon = datetime(2026, 1, 31, 12, tzinfo=timezone(timedelta(hours=2)))
    list(service.turns.list(completion_id=["a", "b"], policy_version="p-1", since=noon, until=None))
    list(service.feedback.list(kind=["thumb", "flag"], retracted=False, user="ann", until="2026-02-01T00:00:00Z"))
    list(service.feedback.list(kind="thumb"))
    assert [request.url.params.multi_items() for request in transport.requests] == [
        [("completion_id", "a"), ("completion_id", "b"), ("policy_version", "p-1"), ("since", noon.isoformat())],
        [
            ("kind", "thumb"),
            ("kind", "flag"),
            ("retracted", "false"),
            ("user", "ann"),
            ("until", "2026-02-01T00:00:00Z"),
        ],
        [("kind", "thumb")],
    ]
    assert "%2B02%3A00" in str(transport.requests[0].url)


def test_a_list_of_nothing_is_refused_and_does_not_mean_everything() -> None:
    transport = Scripted(ok({"items": []}))
    with pytest.raises(ConfigurationError, match="completion_id is an empty list"):
        list(client(transport).turns.list(completion_id=[]))
    with pytest.raises(ConfigurationError, match="kind"):
        list(client(transport).feedback.list(kind=()))
    assert transport.requests == []


async def test_a_time_without_an_offset_is_refused_here() -> None:
    with pytest.raises(ConfigurationError, match="until: give a datetime with a time zone"):
        list(client(Scripted(ok({"items": []}))).turns.list(until=datetime(2026, 1, 31)))  # noqa: DTZ001
    async with AsyncClient("http://service", transport=Scripted(ok({"items": []}))) as service:
        with pytest.raises(ConfigurationError, match="since"):
            [record async for record in service.feedback.list(since=datetime(2026, 1, 31))]  # noqa: DTZ001


ERASURE = {
    "erasure_id": "er-1",
    "subject_sha256": "ab" * 32,
    "state": "complete",
    "turns": 3,
    "feedback": 2,
    "created_ms": 1,
    "deadline_ms": 2,
    "versions": [{"version": "p-2", "examples": 5, "share": 0.25, "inherited": True}],
}


def test_people_are_erased() -> None:
    transport = Scripted(ok(ERASURE), ok(ERASURE), ok({"erasures": [ERASURE]}), ok(ERASURE))
    service = client(transport)
    assert service.erasures.user("ann").versions[0].share == 0.25
    service.erasures.conversation("conv/1")
    assert service.erasures.list().erasures == [service.erasures.get("er-1")]
    assert [(r.method, r.url.raw_path) for r in transport.requests] == [
        ("DELETE", b"/v1/users/ann"),
        ("DELETE", b"/v1/conversations/conv%2F1"),
        ("GET", b"/v1/erasures"),
        ("GET", b"/v1/erasures/er-1"),
    ]


def test_policies_and_the_learner() -> None:
    transport = Scripted(ok(POLICIES), ok(POLICIES), ok(POLICIES), ok({"command": "now", "stages": ["sft"]}, 202))
    service = client(transport)
    assert service.policies.list().live == "p-2"
    service.policies.promote("p-2")
    service.policies.rollback()
    assert service.learner.now(["sft"]).stages == ["sft"]
    assert [r.url.path for r in transport.requests[1:]] == [
        "/v1/policies/p-2/promote",
        "/v1/policies/rollback",
        "/v1/learner/commands",
    ]
    assert transport.body(2) == {}


def test_a_turn_from_elsewhere() -> None:
    transport = Scripted(ok(TURN, 201))
    turn = client(transport).turns.create("hi", ["a", "b"], model="gpt-x", completion_id="t-1")
    assert turn.origin == "import"
    assert transport.body()["answers"] == ["a", "b"]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequest),
        (401, Unauthorized),
        (403, Forbidden),
        (413, PayloadTooLarge),
        (418, ApiError),
        (500, ServerError),
    ],
)
def test_errors_by_status(status: int, kind: type[ApiError]) -> None:
    transport = Scripted(problem(status, "not so", code="invalid_request", field="messages[0].role"))
    with pytest.raises(kind) as raised:
        client(transport, max_retries=0).chat("hi")
    error = raised.value
    assert (error.status, error.code, error.field, error.request_id) == (
        status,
        "invalid_request",
        "messages[0].role",
        "req-7",
    )
    assert "messages[0].role" in str(error)


def test_openais_error_object_is_understood() -> None:
    body = {"error": {"message": "no model 'x'", "type": "NotFoundError", "param": "model", "code": 404}}
    with pytest.raises(thumbwheel.NotFound, match="no model 'x'") as raised:
        client(Scripted(httpx.Response(404, json=body))).chat("hi", model="x")
    assert (raised.value.code, raised.value.field) == ("404", "model")


def test_a_proxys_page_is_quoted() -> None:
    with pytest.raises(ServerError, match="Bad gateway"):
        client(Scripted(httpx.Response(502, text="<h1>Bad gateway</h1>")), max_retries=0).status()


def test_a_success_that_is_not_ours_is_unexpected() -> None:
    with pytest.raises(UnexpectedAnswer):
        client(Scripted(httpx.Response(200, text="<html>"))).status()
    with pytest.raises(UnexpectedAnswer):
        client(Scripted(ok({"choices": 3}))).chat("hi")


def test_where_and_who_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THUMBWHEEL_URL", "http://elsewhere:9/")
    monkeypatch.setenv("THUMBWHEEL_API_KEY", "tw-secret")
    transport = Scripted(ok(CHAT))
    with Client(transport=transport) as service:
        service.chat("hi")
    assert transport.requests[0].url.host == "elsewhere"
    assert transport.requests[0].headers["authorization"] == "Bearer tw-secret"


@pytest.mark.parametrize("url", ["service:8000", "ftp://service", "http://", "not a url"])
def test_a_wrong_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(ConfigurationError):
        Client(url)


def test_options_change_a_copy_over_the_same_sockets() -> None:
    transport = Scripted(problem(503), ok(CHAT))
    service = client(transport)
    hasty = service.with_options(max_retries=0, api_key="other", timeout=1.5, headers={"x-trace": "1"})
    with pytest.raises(ServerError):
        hasty.chat("hi")
    hasty.close()
    assert transport.requests[0].headers["x-trace"] == "1"
    assert transport.requests[0].headers["authorization"] == "Bearer other"
    assert transport.requests[0].extensions["timeout"]["read"] == 1.5
    assert service.chat("hi").text == "hello"
    assert "x-trace" not in transport.requests[1].headers


def test_raw_responses_keep_status_and_headers_beside_the_result() -> None:
    answer = client(Scripted(ok(RECORD, 201, x_request_id="req-1"))).with_raw_response.feedback.thumb("c", "up")
    assert (answer.status_code, answer.request_id, answer.parsed.kind) == (201, "req-1", "thumb")


async def test_raw_responses_of_the_asyncio_client() -> None:
    async with AsyncClient("http://service", transport=Scripted(ok(TURN, 201))) as service:
        answer = await service.with_raw_response.turns.create("hi", ["a"])
    assert (answer.status_code, answer.parsed.completion_id) == (201, "t-1")


def surface(of: type | object) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, member in inspect.getmembers(of):
        if not name.startswith("_") and callable(member):
            found[name] = [p for p in inspect.signature(member).parameters if p != "self"]
    return found


def test_both_clients_have_the_same_surface() -> None:
    one, other = Client("http://service"), AsyncClient("http://service")
    assert surface(one) == surface(other)
    for group in ("feedback", "turns", "reviews", "policies", "erasures", "learner"):
        assert surface(getattr(one, group)) == surface(getattr(other, group))
        raw = surface(getattr(one.with_raw_response, group))
        assert raw == surface(getattr(other.with_raw_response, group))
        paged = {"list"} if group in ("feedback", "turns", "reviews") else set()
        assert set(raw) == set(surface(getattr(one, group))) - paged
    one.close()


def test_the_public_names_are_these() -> None:
    assert thumbwheel.__all__ == [
        "ApiError",
        "AsyncChatStream",
        "AsyncClient",
        "Backoff",
        "BadRequest",
        "ChatChoice",
        "ChatChunk",
        "ChatResult",
        "ChatStream",
        "Client",
        "ConfigurationError",
        "Conflict",
        "ConnectionFailed",
        "Forbidden",
        "NotFound",
        "PayloadTooLarge",
        "RateLimited",
        "RawResponse",
        "ServerError",
        "StreamBroken",
        "ThumbwheelError",
        "TimedOut",
        "Unauthorized",
        "UnexpectedAnswer",
        "UnprocessableEntity",
        "Usage",
        "__version__",
    ]
    for name in thumbwheel.__all__:
        assert getattr(thumbwheel, name) is not None
    with pytest.raises(AttributeError):
        thumbwheel.Clyent  # noqa: B018


def test_the_version_is_the_distributions() -> None:
    project = Path(__file__).parents[3] / "pyproject.toml"
    assert f'version = "{thumbwheel.__version__}"' in project.read_text()
