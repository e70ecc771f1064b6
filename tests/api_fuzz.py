"""Throws at the API whatever its own OpenAPI document allows, and what it forbids, and keeps count of the answers."""

import asyncio
import contextlib
import itertools
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import AcceptedNegativeData, FailureGroup
from schemathesis.specs.openapi import checks
from tests.adapters import published, write_adapter, write_artifact, write_base
from tests.fake_engine import FakeEngine, served_from
from tests.serving import admin_key, alive, client

from thumbwheel import internal, routes
from thumbwheel.artifact import base_fingerprint, signing_key
from thumbwheel.events import ReviewAsked, encode, now_ms, topic_and_key, wrap
from thumbwheel.sealed import ReviewTexts, seal_review
from thumbwheel.types import Problem
from thumbwheel_service.app import create_app
from thumbwheel_service.http import PROBLEM_JSON, OpenAIError, speaks_openai
from thumbwheel_service.settings import Settings

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]
"""That well-formed requests are accepted is not among them: much of what is right in form names nothing that exists."""
LEFT_OUT = "internal"
"""Tag of the learner's own routes: MessagePack with bytes in it, which JSON Schema cannot describe."""
_WISE, _FORBIDDEN = 0.7, 0.25
HELLO = [{"role": "user", "content": "Where is my order?"}]


@dataclass
class Tally:
    """How one operation answered."""

    statuses: Counter[int] = field(default_factory=Counter)
    untyped: list[str] = field(default_factory=list)
    undocumented_5xx: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    @property
    def cases(self) -> int:
        return self.statuses.total()

    @property
    def share_2xx(self) -> float:
        return sum(n for status, n in self.statuses.items() if 200 <= status < 300) / max(1, self.cases)


class RunningApp:
    """The service in a thread of its own, over a fake engine and SQLite, with something in it to speak of."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="app")
        self._stack = contextlib.AsyncExitStack()
        self.completions: list[str] = []
        self.conversations: list[str] = []
        self.feedback: list[str] = []
        self.erasures: list[str] = []
        self._strangers = itertools.count()

    def __enter__(self) -> "RunningApp":
        self._thread.start()
        self._wait(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._wait(self._stack.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def send(self, request: requests.PreparedRequest) -> httpx.Response:
        body = request.body.encode() if isinstance(request.body, str) else request.body
        path = (request.url or "").removeprefix("http://127.0.0.1:8000")
        headers = [(k.encode("latin-1"), _bytes(v)) for k, v in request.headers.items()]
        return self._wait(self._http.request(request.method or "GET", path, headers=headers, content=body))

    def somebody(self, *, name: str | None = None) -> str:
        """A conversation of a user who may be erased, or of nobody; returns its id."""
        number = next(self._strangers)
        body = {"messages": HELLO, "answers": ["Yes."], "conversation_id": f"stranger-{number}"}
        self._wait(self._post("/v1/turns", body if name is None else body | {"user": name}))
        return body["conversation_id"]

    def question(self) -> str:
        """A question of the learner that nobody has answered; returns its id once the service has heard it."""
        review_id = f"rv-{next(self._strangers)}"
        return self._wait(self._ask(review_id))

    def document(self) -> dict[str, Any]:
        return self._wait(self._http.get("/docs/openapi.json")).json()

    async def _start(self) -> None:
        base = write_base(self._folder / "base")
        app = create_app(Settings(data=self._folder / "state"), FakeEngine(info=served_from(base)))
        await self._stack.enter_async_context(alive(app))
        key = admin_key(self._folder / "state")
        self._http = await self._stack.enter_async_context(client(app, key=key))
        await self._publish(base)
        for i in range(20):
            chat = await self._post("/v1/chat/completions", {"messages": HELLO, "user": f"user-{i}"})
            self.completions.append(chat["id"])
            self.conversations.append(chat["thumbwheel"]["conversation_id"])
            thumb = {"kind": "thumb", "completion_id": chat["id"], "value": "up"}
            self.feedback.append((await self._post("/v1/feedback", thumb))["feedback_id"])
        await self._post("/v1/turns", {"messages": HELLO, "answers": ["Yes."], "user": "gone"})
        self.erasures.append((await self._http.delete("/v1/users/gone")).json()["erasure_id"])

    async def _ask(self, review_id: str) -> str:
        now = now_ms()
        event = ReviewAsked(
            review_id=review_id,
            kind="judge",
            conversation_id=self.conversations[0],
            completion_id=self.completions[0],
            acquisition="bald",
            score=0.5,
            random=False,
            reward_model="rm-1",
            asked_ms=now,
            expires_ms=now + 600_000,
            box=seal_review(review_id, ReviewTexts(), {}),
        )
        topic, key = topic_and_key(event)
        await self._tell(internal.LogEntry(topic.name, key, f"{review_id}/asked", encode(wrap(event))))
        while True:
            page = (await self._http.get("/v1/reviews")).json()
            if any(item["review_id"] == review_id for item in page["items"]):
                return review_id
            await asyncio.sleep(0.005)

    async def _tell(self, entry: internal.LogEntry) -> None:
        body, headers = internal.LogAppend([entry]), {"content-type": internal.MSGPACK}
        await self._http.post("/internal/log", content=msgspec.msgpack.encode(body), headers=headers)

    async def _publish(self, base: Path) -> None:
        state = self._folder / "state"
        adapter, key = write_adapter(self._folder / "adapter"), signing_key(state / "signing.key")
        store = state / "artifacts"
        write_artifact(store, "v1", adapter, key, version="v1", base_model=base_fingerprint(base))
        event = published(store, "v1", promote="manual")
        topic, partition_key = topic_and_key(event)
        await self._tell(internal.LogEntry(topic.name, partition_key, "test/v1", encode(wrap(event))))
        for _ in range(1000):
            if (await self._http.get("/v1/policies/v1")).status_code == 200:
                return
            await asyncio.sleep(0.01)

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = await self._http.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def _wait(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(600)


def fuzz(app: RunningApp, cases: int, *, seed: bool = False, part: slice = slice(None)) -> dict[str, Tally]:
    """So many cases for every operation of the document, or a part of them; with `seed` the same ones every time."""
    schema = schemathesis.openapi.from_dict(app.document())
    tallies: dict[str, Tally] = {}
    operations = [found.ok() for found in schema.get_all_operations()]
    for operation in [o for o in operations if LEFT_OUT not in (o.tags or ())][part]:
        tallies[operation.label] = _fuzz_one(app, operation, cases, seed)
    return tallies


def _fuzz_one(app: RunningApp, operation: Any, cases: int, seed: bool) -> Tally:
    tally = Tally()
    right = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    has_input = bool(operation.body) or any(True for _ in operation.iter_parameters())
    wrong = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE) if has_input else None
    forbidden = round(cases * _FORBIDDEN) if wrong is not None else 0

    def run(strategy: Any, count: int, prepare: Callable[[Case, float], None]) -> None:
        @settings(
            max_examples=count,
            deadline=None,
            database=None,
            derandomize=seed,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=strategy, wisdom=st.floats(0, 1))
        def one(case: Case, wisdom: float) -> None:
            prepare(case, wisdom)
            _count(tally, case, app)

        one()

    if wrong is not None:
        with contextlib.suppress(Unsatisfiable):  # some parameters cannot be wrong
            run(wrong, forbidden, lambda case, wisdom: None)
    rest = cases - tally.cases
    run(right, rest, lambda case, wisdom: make_wise(case, app, wisdom) if wisdom < _WISE else None)
    return tally


def _count(tally: Tally, case: Case, app: RunningApp) -> None:
    """That forbidden data was refused for its size (413) counts as refused, though the check does not know it."""
    request = requests.Request(**case.as_transport_kwargs(base_url="http://127.0.0.1:8000")).prepare()
    answer = app.send(request)
    tally.statuses[answer.status_code] += 1
    what = f"{request.method} {request.url} {request.body!r:.300} -> {answer.status_code} {answer.text[:300]}"
    documented = case.operation.definition.raw["responses"]
    if answer.status_code == 500 or (answer.status_code > 500 and str(answer.status_code) not in documented):
        tally.undocumented_5xx.append(what)
    if answer.status_code >= 400 and not _is_typed(answer, case.path):
        tally.untyped.append(what)
    try:
        case.validate_response(answer, checks=CHECKS)
    except FailureGroup as group:
        broken = [e for e in group.exceptions if not (isinstance(e, AcceptedNegativeData) and answer.is_client_error)]
        tally.violations += [f"{type(e).__name__}: {str(e)[:200]} | {what}" for e in broken]


def _is_typed(answer: httpx.Response, path: str) -> bool:
    media_type = answer.headers.get("content-type", "")
    kind = OpenAIError if speaks_openai(path) or path.startswith("/v1/models") else Problem
    if media_type != ("application/json" if kind is OpenAIError else PROBLEM_JSON):
        return False
    with contextlib.suppress(msgspec.DecodeError):
        msgspec.json.decode(answer.content, type=kind)
        return True
    return False


def make_wise(case: Case, app: RunningApp, wisdom: float) -> None:
    """Let a well-formed request speak of what is there."""
    pick = int(wisdom * 1e9)
    known = {
        "completion_id": app.completions[pick % len(app.completions)],
        "conversation_id": app.conversations[pick % len(app.conversations)],
        "feedback_id": app.feedback[pick % len(app.feedback)],
        "version": ("base", "v1")[pick % 2],
        "model": ("base", "thumbwheel")[pick % 2],
        "erasure_id": app.erasures[0],
    }
    if case.method == "DELETE" and case.path == routes.USER:
        known["user"] = "stranger"
        app.somebody(name="stranger")
    if case.method == "DELETE" and case.path == routes.CONVERSATION:
        known["conversation_id"] = app.somebody()
    if case.path == routes.REVIEW_ANSWER:
        known["review_id"] = app.question()
    for name in case.path_parameters or {}:
        case.path_parameters[name] = known[name]
    for name in list(case.query or {}):
        if name == "cursor":
            del case.query[name]
        elif name in known:
            case.query[name] = known[name]
    if case.headers and pick % 8 != 1:
        case.headers.pop("Idempotency-Key", None)
    if isinstance(case.body, dict):
        case.body = {**case.body}
        _make_body_wise(case.body, case.path, known)


def _make_body_wise(body: dict[str, Any], path: str, known: dict[str, str]) -> None:
    if "messages" in body or path == "/v1/chat/completions":
        body["messages"] = HELLO
    for name in ("model", "version"):
        if name in body:
            body[name] = known[name]
    if "items" in body:
        body["items"] = [*body["items"][:3], {"kind": "rating", "value": 4, "completion_id": known["completion_id"]}]
    if path == routes.REVIEW_ANSWER:
        said = {"correction": "It left today."} if "correction" in body else {"value": "down"}
        body |= {"value": None, "correction": None, "reasons": [], "comment": None, **said}
    if path.endswith("/rollback"):
        body["version"] = known["version"]
    body.pop("feedback_id", None)
    if path == "/v1/turns":
        body.pop("completion_id", None)
        return
    if "kind" in body and body["kind"] != "demonstration":
        body["completion_id"] = known["completion_id"]
        body.pop("choice", None)
        body.pop("conversation_id", None)
    if body.get("kind") == "comparison":
        body["other_text"] = body.get("other_text") or "It left yesterday."
        body.pop("other_completion_id", None)


def report(tallies: dict[str, Tally]) -> dict[str, Any]:
    """The figures, as JSON."""
    return {
        "cases": sum(t.cases for t in tallies.values()),
        "undocumented_5xx": sum(len(t.undocumented_5xx) for t in tallies.values()),
        "untyped_bodies": sum(len(t.untyped) for t in tallies.values()),
        "contract_violations": sum(len(t.violations) for t in tallies.values()),
        "operations": {
            label: {
                "cases": tally.cases,
                "share_2xx": round(tally.share_2xx, 3),
                "statuses": {str(status): n for status, n in sorted(tally.statuses.items())},
                "examples": [*tally.undocumented_5xx[:3], *tally.untyped[:3], *tally.violations[:6]],
            }
            for label, tally in tallies.items()
        },
    }


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1", "replace")
