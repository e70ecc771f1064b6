"""`thumbwheel keys` works on the database beside a running service; `serve` refuses what cannot work before loading."""

import argparse
import socket
from pathlib import Path

import pytest
from tests.serving import alive as alive_app
from tests.serving import client, idle_app

from thumbwheel_service import commands, server
from thumbwheel_service.auth import service
from thumbwheel_service.engine.checkpoint import ModelNotFound
from thumbwheel_service.settings import BadSetting, Settings


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    commands.register(parser.add_subparsers(required=True))
    arguments = parser.parse_args(words)
    status: int = arguments.run(arguments)
    return status


async def test_a_key_is_made_listed_used_and_revoked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "REFRESH_SECONDS", 0.0)
    at = ("--data", str(tmp_path))
    assert run("keys", "create", "--name", "shop", *at) == 0
    text = capsys.readouterr().out.strip()
    app = idle_app(tmp_path)
    async with alive_app(app), client(app, key=text) as http:
        assert (await http.get("/v1/turns")).status_code == 200
        assert run("keys", "list", *at) == 0
        listed = capsys.readouterr().out
        prefix = text.removeprefix("tw-").partition(".")[0]
        assert any(line.split()[:3] == [prefix, "chat", "usable"] for line in listed.splitlines())
        assert text.partition(".")[2] not in listed
        assert run("keys", "revoke", prefix, *at) == 0
        assert (await http.get("/v1/turns")).status_code == 401
    assert run("keys", "list", *at) == 0
    assert f"{prefix}  chat   revoked" in capsys.readouterr().out


def test_an_unknown_prefix_is_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("keys", "revoke", "feedbeef", "--data", str(tmp_path)) == 1
    assert "keys list" in capsys.readouterr().err


def test_keys_expire(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("keys", "create", "--name", "a", "--expires-days", "-1", "--data", str(tmp_path)) == 0
    assert run("keys", "create", "--name", "b", "--expires-days", "2", "--data", str(tmp_path)) == 0
    run("keys", "list", "--data", str(tmp_path))
    assert [line.split()[2] for line in capsys.readouterr().out.splitlines()[-2:]] == ["expired", "expires"]


def test_a_taken_port_is_said_before_anything_is_loaded(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(server.CannotListen, match=f"127.0.0.1 port {port}"):
            server.run(Settings(data=tmp_path, port=port))
    assert not (tmp_path / "service.db").exists()


def test_a_model_that_is_not_there_is_said_before_listening(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        server.build_engine(Settings(data=tmp_path, model=str(tmp_path / "nothing")))
    with pytest.raises(BadSetting, match="THUMBWHEEL_ENGINE_"):
        server.build_engine(Settings(data=tmp_path, model="m", engine_options={"max_num_seqs": "many"}))
