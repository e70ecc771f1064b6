"""A client that goes away in the middle of its request is no failure of the service."""

import logging
from pathlib import Path
from typing import Any

import pytest
from tests.serving import alive, idle_app

SCOPE = {
    "type": "http", "http_version": "1.1", "method": "POST", "scheme": "http", "path": "/v1/feedback",
    "raw_path": b"/v1/feedback", "query_string": b"", "root_path": "", "client": ("127.0.0.1", 1),
    "server": ("127.0.0.1", 8000), "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")],
}  # fmt: skip


async def test_a_body_that_breaks_off_is_the_clients_fault(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    messages = iter([{"type": "http.request", "body": b'{"kind"', "more_body": True}, {"type": "http.disconnect"}])
    sent: list[Any] = []

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    app = idle_app(tmp_path)
    async with alive(app):
        with caplog.at_level(logging.ERROR):
            await app({**SCOPE}, receive, send)  # type: ignore[arg-type]
    assert sent[0]["status"] == 400
    assert b"body_cut_off" in sent[1]["body"]
    assert caplog.messages == []
