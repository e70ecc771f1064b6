"""Who is answered: key holders; without any chat key this machine's own programs, and never a web page."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from sqlmodel import Session
from tests.serving import admin_key, alive, client, idle_app, serving

from thumbwheel.events import now_ms
from thumbwheel_service.auth import keys, service
from thumbwheel_service.auth.service import NeedsKey
from thumbwheel_service.db.engine import connect

JSON = {"content-type": "application/json"}


@pytest.fixture
async def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Litestar]:
    monkeypatch.setattr(service, "REFRESH_SECONDS", 0.0)
    app = idle_app(tmp_path)
    async with alive(app):
        yield app


def make_key(data: Path, **options: Any) -> keys.ApiKey:
    """As `thumbwheel keys create` does beside a running service."""
    key = keys.mint()
    engine = connect(f"sqlite:///{data / 'service.db'}")
    with engine.connect().execution_options(writes=True) as connection, Session(connection) as session, session.begin():
        keys.create(session, key, name="test", **({"scope": "chat"} | options))
    engine.dispose()
    return key


def revoke(data: Path, key: keys.ApiKey) -> None:
    engine = connect(f"sqlite:///{data / 'service.db'}")
    with engine.connect().execution_options(writes=True) as connection, Session(connection) as session, session.begin():
        keys.revoke(session, key.prefix)
    engine.dispose()


async def status(app: Litestar, path: str = "/v1/turns", **options: Any) -> int:
    headers = options.pop("headers", {})
    async with client(app, **options) as http:
        return (await http.get(path, headers=headers)).status_code


async def test_without_keys_this_machine_is_answered(app: Litestar) -> None:
    for host in ["127.0.0.1:8000", "localhost", "localhost:99", "[::1]:8000", "[::1]", "LOCALHOST", "127.9.9.9"]:
        assert await status(app, headers={"host": host}) == 200
        assert await status(app, headers={"host": host}, peer="::1") == 200


async def test_without_keys_other_machines_are_not(app: Litestar) -> None:
    for peer in ["10.0.0.7", "192.168.1.2", "::ffff:10.0.0.7", "8.8.8.8"]:
        assert await status(app, peer=peer) == 403


async def test_a_rebound_name_is_refused(app: Litestar) -> None:
    for host in [
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "",
        "[::2]:8000",
    ]:
        assert await status(app, headers={"host": host}) == 403


async def test_web_pages_and_proxies_are_refused(app: Litestar) -> None:
    for headers in [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:3000"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"x-forwarded-for": "10.0.0.7"},
        {"forwarded": "for=10.0.0.7"},
    ]:
        assert await status(app, headers=headers) == 403


async def test_our_own_page_and_a_typed_address_are_answered(app: Litestar) -> None:
    own = {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"}
    assert await status(app, headers=own) == 200
    assert await status(app, headers={"sec-fetch-site": "none"}) == 200


async def test_a_form_or_a_plain_text_body_is_refused(app: Litestar) -> None:
    body = b'{"kind":"thumb","completion_id":"c","value":"up"}'
    async with client(app) as http:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
            answer = await http.post("/v1/feedback", content=body, headers={"content-type": kind})
            assert answer.status_code == 415
        assert (await http.post("/v1/feedback", content=body, headers=JSON)).status_code == 404
        preflight = await http.options(
            "/v1/feedback", headers={"origin": "https://evil.example", "access-control-request-method": "POST"}
        )
        assert not [name for name in preflight.headers if name.startswith("access-control")]


async def test_without_keys_a_client_that_must_send_one_is_answered(app: Litestar) -> None:
    """OpenAI's clients refuse to start without a key; any that is not ours is as good as none."""
    assert await status(app, headers={"authorization": "Bearer unused"}) == 200
    assert await status(app, headers={"authorization": f"Bearer {keys.mint().text}"}) == 401


async def test_admin_and_internal_routes_always_need_the_admin_key(app: Litestar, tmp_path: Path) -> None:
    chat_key = make_key(tmp_path)
    for path in ["/v1/policies", "/internal/log/thumbwheel.turns/0", "/internal/route"]:
        assert await status(app, path) == 401
        assert await status(app, path, headers={"authorization": "Bearer unused"}) == 401
        assert await status(app, path, key=chat_key.text) == 403
        assert await status(app, path, key=admin_key(tmp_path), peer="10.0.0.7") == 200


async def test_the_first_chat_key_closes_the_open_door(app: Litestar, tmp_path: Path) -> None:
    assert await status(app) == 200
    key = make_key(tmp_path)
    assert await status(app) == 401
    assert await status(app, headers={"authorization": "Bearer unused"}) == 401
    assert await status(app, key=key.text, peer="10.0.0.7", base_url="http://chat.example") == 200
    revoke(tmp_path, key)
    assert await status(app, key=key.text) == 401
    assert await status(app) == 401, "revoking the last key does not open the door again"


async def test_wrong_expired_and_foreign_keys_are_refused(app: Litestar, tmp_path: Path) -> None:
    key = make_key(tmp_path)
    expired = make_key(tmp_path, expires_ms=now_ms() - 1)
    later = make_key(tmp_path, expires_ms=now_ms() + 60_000)
    assert await status(app, key=expired.text) == 401
    assert await status(app, key=later.text) == 200
    assert await status(app, key=keys.ApiKey(key.prefix, later.secret).text) == 401
    assert await status(app, headers={"authorization": f"Basic {key.text}"}) == 401


async def test_refusals_speak_the_route_s_language(app: Litestar, tmp_path: Path) -> None:
    make_key(tmp_path)
    async with client(app) as http:
        own, chat = await http.get("/v1/turns"), await http.get("/v1/models")
    assert (own.headers["content-type"], own.json()["code"]) == ("application/problem+json", "missing_api_key")
    assert own.headers["www-authenticate"] == "Bearer"
    assert chat.json()["error"] == {
        "message": own.json()["detail"],
        "type": "authentication_error",
        "param": None,
        "code": "missing_api_key",
    }


async def test_probes_and_docs_need_no_key(app: Litestar, tmp_path: Path) -> None:
    make_key(tmp_path)
    for path in ("/healthz", "/readyz", "/metrics", "/docs", "/docs/openapi.json"):
        assert await status(app, path, peer="10.0.0.7") == 200


async def test_listening_to_others_needs_a_chat_key(tmp_path: Path) -> None:
    with pytest.raises(NeedsKey, match="thumbwheel keys create"):
        idle_app(tmp_path, host="0.0.0.0")
    make_key(tmp_path, scope="admin")
    expired = make_key(tmp_path, expires_ms=1)
    revoke(tmp_path, expired)
    with pytest.raises(NeedsKey):
        idle_app(tmp_path, host="::")
    make_key(tmp_path)
    async with serving(idle_app(tmp_path, host="0.0.0.0")) as http:
        assert (await http.get("/v1/turns")).status_code == 401


async def test_keys_are_looked_up_again_only_after_a_while(tmp_path: Path) -> None:
    async with serving(idle_app(tmp_path)) as http:
        assert (await http.get("/v1/turns")).status_code == 200
        make_key(tmp_path)
        await asyncio.sleep(service.REFRESH_SECONDS + 0.1)
        assert (await http.get("/v1/turns")).status_code == 401
