"""A small service in memory on a real socket: turns, feedback, chat, policies, status; enough for the commands."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
from tests.log_endpoint import LogTransport

POLICIES = {
    "live": "p-2",
    "epoch": 3,
    "policies": [
        {
            "version": "p-2",
            "state": "live",
            "parent": "p-1",
            "created_ms": 1_700_000_000_000,
            "swap_seconds": 0.25,
            "verdict": {
                "accepted": True,
                "win_rate": {"mean": 0.61, "low": 0.55, "high": 0.67, "n": 96},
                "kl": 0.8125,
                "kl_base": 1.5,
            },
        },
        {"version": "p-1", "state": "rejected", "reason": "a tensor holds NaN"},
    ],
}
ERASURE = {
    "erasure_id": "er-1",
    "subject_sha256": "ab" * 32,
    "state": "complete",
    "turns": 3,
    "feedback": 2,
    "created_ms": 1,
    "deadline_ms": 2,
    "applied_ms": 2,
    "versions": [{"version": "p-2", "examples": 5, "share": 0.25, "inherited": True}],
}
STATUS = {
    "version": "0.1.0",
    "model": "demo",
    "alias": "thumbwheel",
    "live_policy": "p-2",
    "epoch": 3,
    "uptime_s": 3725.0,
    "chats_in_flight": 1,
    "turns": 12,
    "feedback": 7,
    "bus": "embedded",
    "dead_letters": 2,
    "learner": {
        "state": "training",
        "stage": "ppo",
        "progress": 0.5,
        "run_id": "r-1",
        "detail": "iteration 3 of 6",
        "labels_total": 60,
        "labels_new": 5,
        "updated_ms": 1_700_000_000_000,
        "reward_model": {"accuracy": 0.75, "ready": True},
    },
}


class Desk:
    """What was asked of it, and what it keeps."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any, dict[str, str]]] = []
        self.turns: dict[str, dict[str, Any]] = {}
        self.feedback: list[dict[str, Any]] = []
        self.erased: list[str] = []
        self.refuse_text: str | None = None
        self.key: str | None = None
        self.bus = "embedded"
        self.log = LogTransport()
        self.url = ""

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        match method, path.split("?", maxsplit=1)[0].strip("/").split("/")[1:]:
            case "POST", ["turns"]:
                return self._turn(body)
            case "POST", ["feedback"]:
                self.feedback.append(body)
                return 201, self._record(body, len(self.feedback))
            case "DELETE", ["feedback", identity]:
                return 200, {**self._record(self.feedback[-1], 1), "feedback_id": identity, "retracted": True}
            case "GET", ["status"]:
                return 200, STATUS | {"bus": self.bus}
            case "GET", ["policies"]:
                return 200, POLICIES
            case "GET", ["policies", version]:
                return 200, next(p for p in POLICIES["policies"] if p["version"] == version)  # type: ignore[index]
            case "POST", ["policies", *_]:
                return 200, {**POLICIES, "live": "p-1"}
            case "DELETE", ["users" | "conversations", name]:
                self.erased.append(name)
                return 200, ERASURE | {"state": "erased", "versions": []}
            case "GET", ["erasures"]:
                return 200, {"erasures": [ERASURE] if self.erased else []}
            case "GET", ["erasures", _]:
                return 200, ERASURE
            case "POST", ["learner", "commands"]:
                return 202, body
            case _:
                return 404, problem(404, "no such route")

    def _turn(self, body: Any) -> tuple[int, Any]:
        if self.refuse_text is not None and self.refuse_text in json.dumps(body):
            return 400, problem(400, "too long", field="answers[0]")
        identity = body["completion_id"]
        known = identity in self.turns
        self.turns[identity] = body
        given = [self._record(f, 1) for f in self.feedback if f.get("completion_id") == identity]
        return (200 if known else 201), {
            "completion_id": identity,
            "conversation_id": body["conversation_id"],
            "policy_version": "import",
            "status": "complete",
            "origin": "import",
            "created_ms": 1,
            "feedback": given,
        }

    def _record(self, body: Any, number: int) -> dict[str, Any]:
        return {
            "feedback_id": f"fb-{number}",
            "revision": 1,
            "retracted": False,
            "kind": body["kind"],
            "created_ms": 1,
            "updated_ms": 1,
            "feedback": body,
        }

    def stream(self, body: Any) -> list[bytes]:
        said = f"you said {body['messages'][-1]['content']}"
        stamp = {"completion_id": f"c-{len(self.asked)}", "policy_version": "p-2", "conversation_id": "conv-1"}
        pieces = [{"id": "c", "choices": [], "thumbwheel": stamp}]
        pieces += [{"id": "c", "choices": [{"index": 0, "delta": {"content": word + " "}}]} for word in said.split()]
        return [b"data: " + json.dumps(piece).encode() + b"\n\n" for piece in pieces] + [b"data: [DONE]\n\n"]


def problem(status: int, detail: str, **more: str) -> dict[str, Any]:
    return {"title": "No", "status": status, "detail": detail, **more}


@contextlib.contextmanager
def open_desk() -> Iterator[Desk]:
    """A desk that listens on a free port of this machine."""
    desk = Desk()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16

        def _serve(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            if self.path.startswith("/internal/"):
                self._log(self.rfile.read(length))
                return
            body = json.loads(self.rfile.read(length)) if length else None
            desk.asked.append((self.command, self.path, body, {k.lower(): v for k, v in self.headers.items()}))
            if desk.key is not None and self.headers.get("authorization") != f"Bearer {desk.key}":
                self._send(401, json.dumps(problem(401, "an admin key is needed")).encode())
            elif self.path == "/v1/chat/completions":
                self._send(200, b"".join(desk.stream(body)))
            else:
                status, answer = desk.answer(self.command, self.path, body)
                self._send(status, json.dumps(answer).encode())

        def _log(self, body: bytes) -> None:
            request = httpx.Request(self.command, desk.url + self.path, content=body, headers=dict(self.headers))
            answer = desk.log.handle_request(request)
            self._send(answer.status_code, answer.content)

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = _serve  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    desk.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield desk
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
