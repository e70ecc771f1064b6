"""Fakes of a labeler: one that implements our protocol, and an OpenAI-compatible endpoint on a real socket."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from thumbwheel_learner.dataset.examples import Messages
from thumbwheel_learner.rlaif.labeler import Verdict


def longer(first: str, second: str) -> float:
    """A taste for length."""
    return 0.5 if len(first) == len(second) else 0.9 if len(first) > len(second) else 0.1


class FakeLabeler:
    """A `PreferenceLabeler` of a given taste; `before` is called with each question, and may raise."""

    name = "fake/1"

    def __init__(self, taste: Callable[[str, str], float] = longer) -> None:
        self.taste = taste
        self.before: Callable[[int], None] = lambda number: None
        self.asked: list[tuple[str, str]] = []

    def compare(self, principle: str, messages: Messages, first: str, second: str) -> Verdict:
        """See `PreferenceLabeler`."""
        self.before(len(self.asked))
        self.asked.append((first, second))
        return Verdict(self.taste(first, second), f"{first} against {second}", self.name)


class Endpoint:
    """What the fake endpoint was asked, and what it says: by default `says` of the request, as the message."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.paths: list[str] = []
        self.says: Callable[[dict[str, Any]], str] = lambda told: json.dumps(
            {"reason": "longer", "first": longer(told["first_answer"], told["second_answer"])}
        )
        self.statuses: list[int] = []
        """Of the next answers; 200 when they are used up."""
        self.headers: dict[str, str] = {}
        self.url = ""

    def answer(self, body: dict[str, Any]) -> tuple[int, bytes]:
        """Status and body."""
        self.requests.append(body)
        status = self.statuses.pop(0) if self.statuses else 200
        said = self.says(json.loads(body["messages"][1]["content"]))
        return status, json.dumps({"id": "x", "choices": [{"index": 0, "message": {"content": said}}]}).encode()


@contextlib.contextmanager
def serve_endpoint() -> Iterator[Endpoint]:
    """An endpoint at `url`, which ends with `/v1`."""
    endpoint = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            endpoint.paths.append(self.path)
            endpoint.keys.append(self.headers["authorization"])
            status, content = endpoint.answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(status)
            for name, value in {"content-length": str(len(content)), **endpoint.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    endpoint.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
