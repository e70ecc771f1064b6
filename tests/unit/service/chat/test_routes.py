"""The chat routes through the whole application, on a fake engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar.testing import TestClient
from tests.fake_engine import FakeEngine

from thumbwheel.types import COMPLETION_HEADER, CONVERSATION_HEADER, VERSION_HEADER
from thumbwheel_service.app import create_app
from thumbwheel_service.settings import Settings

HELLO = {"messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def client(tmp_path: Path, engine: FakeEngine) -> Iterator[TestClient]:
    app = create_app(Settings(data=tmp_path), engine)
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        client.headers["authorization"] = f"Bearer {(tmp_path / 'admin.key').read_text().strip()}"
        yield client


def test_an_answer_is_json_with_its_identity_in_the_headers(client: TestClient) -> None:
    answer = client.post("/v1/chat/completions", json=HELLO, headers={CONVERSATION_HEADER: "c-1"})
    assert answer.status_code == 200
    body = answer.json()
    assert body["choices"][0]["message"]["content"] == "I am base"
    assert body["thumbwheel"] == {
        "completion_id": answer.headers[COMPLETION_HEADER],
        "policy_version": answer.headers[VERSION_HEADER],
        "conversation_id": "c-1",
    }
    assert client.get(f"/v1/turns/{body['id']}").json()["status"] in ("open", "complete")


def test_a_stream_is_sent_as_events(client: TestClient) -> None:
    answer = client.post("/v1/chat/completions", json={**HELLO, "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers[VERSION_HEADER] == "base"
    assert answer.text.startswith('data: {"id":"chatcmpl-')
    assert answer.text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        pytest.param({**HELLO, "model": "nobody"}, 404, "model_not_found", "model", id="unknown model"),
        pytest.param({"messages": "hi"}, 400, "BadRequestError", "messages", id="refused when it is parsed"),
        pytest.param({**HELLO, "temperature": "bad"}, 400, "BadRequestError", "temperature", id="refused later"),
        pytest.param(
            {**HELLO, "temperature": "bad", "stream": True}, 400, "BadRequestError", "temperature", id="a stream"
        ),
        pytest.param({**HELLO, "metadata": {"k": 1}}, 400, "invalid_value", "metadata", id="bad metadata"),
        pytest.param([], 400, "invalid_value", None, id="no object"),
    ],
)
def test_errors_are_openais(client: TestClient, body: object, status: int, code: str, field: str | None) -> None:
    answer = client.post("/v1/chat/completions", json=body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == (code, field)
    assert error["message"]


def test_a_dead_engine_is_a_503_that_says_when_to_come_back(client: TestClient, engine: FakeEngine) -> None:
    engine.die()
    answer = client.post("/v1/chat/completions", json=HELLO)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["error"]["code"] == "engine_down"
    assert client.get("/readyz").status_code == 503


def test_models_are_listed_and_found(client: TestClient) -> None:
    listed = client.get("/v1/models").json()
    assert [model["id"] for model in listed["data"]] == ["thumbwheel", "base"]
    assert client.get("/v1/models/base").json()["object"] == "model"
    assert client.get("/v1/models/nobody").json()["error"]["code"] == "model_not_found"
    assert listed["data"][0]["max_model_len"] == 128


def test_policies_are_an_admins_business(client: TestClient) -> None:
    assert client.get("/v1/policies").json()["live"] == "base"
    assert client.get("/v1/policies/base").json()["state"] == "live"
    assert client.get("/v1/policies/v9").status_code == 404
    assert client.post("/v1/policies/v9/promote").status_code == 404
    assert client.post("/v1/policies/rollback", json={"version": "v9"}).json()["code"] == "unknown_version"
    del client.headers["authorization"]
    assert client.get("/v1/policies").status_code == 401
