"""The `thumbwheel` command, as typed."""

import json
import re
from importlib.metadata import EntryPoint
from pathlib import Path

import msgspec
import pytest
from tests.unit.sdk.desk import Desk

from thumbwheel import cli
from thumbwheel.cli import main
from thumbwheel.client import Client
from thumbwheel.commands import learn_command
from thumbwheel.commands.status import lines
from thumbwheel.errors import ConfigurationError
from thumbwheel.types import LogStatus

Output = pytest.CaptureFixture[str]


def test_help_names_every_command(capsys: Output) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    said = capsys.readouterr().out
    for name in ("chat", "export", "import", "policies", "status", "topics", "dead-letters", "up", "doctor"):
        assert re.search(rf"\n    {name}\s", said)


def test_no_command_prints_the_help_and_fails(capsys: Output) -> None:
    assert main([]) == 2
    assert "commands:" in capsys.readouterr().out


def test_an_unknown_option_is_refused(capsys: Output) -> None:
    with pytest.raises(SystemExit) as left:
        main(["status", "--colour", "red"])
    assert left.value.code == 2
    assert "--colour" in capsys.readouterr().err


def test_a_part_whose_extra_is_missing_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    lacking = EntryPoint(name="learner", value="surely_not_installed.commands:register", group=cli.GROUP)
    monkeypatch.setattr(cli, "entry_points", lambda group: [lacking])
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "thumbwheel[learner]" in capsys.readouterr().out.replace("\n", "").replace(" ", "")
    assert main(["learn", "--now"]) == 2
    assert "pip install 'thumbwheel[learner]'" in capsys.readouterr().err


def test_another_parts_commands_are_not_loaded_for_our_own(monkeypatch: pytest.MonkeyPatch, desk: Desk) -> None:
    def refuse(group: str) -> list[EntryPoint]:
        raise AssertionError("entry points were looked up")

    monkeypatch.setattr(cli, "entry_points", refuse)
    assert main(["status"]) == 0


def test_status_in_words_and_as_json(desk: Desk, capsys: Output) -> None:
    assert main(["status"]) == 0
    said = capsys.readouterr().out
    assert "up 1 h 2 min" in said
    assert "training, ppo 50%: iteration 3 of 6" in said
    assert "reward model   accuracy 0.75" in said
    assert "dead letters   2 open" in said
    assert main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["learner"]["stage"] == "ppo"


@pytest.mark.parametrize(
    ("log", "line"),
    [
        (
            LogStatus(records=0, oldest_ms=None, behind=None, keep_days=0),
            "0 records, kept for ever; the learner has never",
        ),
        (
            LogStatus(records=7, oldest_ms=1, behind=3, keep_days=7),
            "d ago, kept 7 d once stored by the learner; learner 3",
        ),
    ],
)
def test_the_status_tells_of_the_log(desk: Desk, log: LogStatus, line: str) -> None:
    with Client() as client:
        status = msgspec.structs.replace(client.status(), log=log)
    assert line in dict(lines(status))["log"]


def test_policies_as_a_table(desk: Desk, capsys: Output) -> None:
    assert main(["policies"]) == 0
    said = capsys.readouterr().out
    row = next(line for line in said.splitlines() if "* p-2" in line)
    for cell in ("live", "p-1", "passed", "0.61 [0.55, 0.67]", "0.812", "1.500", "0.25 s"):
        assert cell in row
    assert "p-1 was rejected: a tensor holds NaN" in said


def test_a_version_in_full(desk: Desk, capsys: Output) -> None:
    assert main(["policies", "show", "p-2"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"]["kl_base"] == 1.5


@pytest.mark.parametrize(
    ("words", "path", "body"),
    [
        (["rollback"], "/v1/policies/rollback", {}),
        (["rollback", "p-1"], "/v1/policies/rollback", {"version": "p-1"}),
        (["promote", "p-1"], "/v1/policies/p-1/promote", {}),
    ],
)
def test_the_route_is_moved_by_a_word(desk: Desk, words: list[str], path: str, body: dict[str, str]) -> None:
    assert main(["policies", *words]) == 0
    assert desk.asked[-1][:3] == ("POST", path, body)


def test_options_count_before_and_after_the_action(desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    monkeypatch.setenv("THUMBWHEEL_URL", "http://127.0.0.1:9")
    assert main(["policies", "--url", desk.url, "--json", "list"]) == 0
    assert json.loads(capsys.readouterr().out)["live"] == "p-2"
    assert main(["policies", "list", "--url", desk.url]) == 0


def test_the_admin_key_of_a_service_on_this_machine_is_found(desk: Desk, tmp_path: Path) -> None:
    desk.key = "tw-admin"
    (tmp_path / "admin.key").write_text("tw-admin\n")
    assert main(["policies", "--data", str(tmp_path)]) == 0


def test_a_local_admin_key_is_never_shown_to_another_machine(tmp_path: Path) -> None:
    import argparse

    from thumbwheel.commands.service import resolve_key

    (tmp_path / "admin.key").write_text("tw-admin\n")
    given = argparse.Namespace(url="http://chat.example:8000", api_key=None, data=str(tmp_path))
    assert resolve_key(given) is None
    given.url = "http://localhost:8000"
    assert resolve_key(given) == "tw-admin"
    given.api_key = "mine"
    assert resolve_key(given) == "mine"


def test_without_a_key_the_message_says_where_to_get_one(desk: Desk, tmp_path: Path, capsys: Output) -> None:
    desk.key = "tw-admin"
    assert main(["policies", "--data", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "an admin key is needed" in said
    assert "--api-key" in said


def test_a_service_that_is_away_is_told_in_a_line(capsys: Output) -> None:
    assert main(["status", "--url", "http://127.0.0.1:9"]) == 1
    said = capsys.readouterr().err
    assert "cannot reach http://127.0.0.1:9" in said
    assert "Traceback" not in said


def test_a_wrong_url_is_a_usage_error(capsys: Output) -> None:
    assert main(["status", "--url", "nowhere"]) == 2


def test_words_to_the_learner(desk: Desk) -> None:
    from thumbwheel import Client

    with Client(desk.url) as client:
        assert "(sft, ppo)" in learn_command(client, "now", "ppo,sft")
        assert desk.asked[-1][2] == {"command": "now", "stages": ["sft", "ppo"]}
        learn_command(client, "now")
        assert desk.asked[-1][2] == {"command": "now"}
        learn_command(client, "pause")
        learn_command(client, "resume")
        assert desk.asked[-1][2] == {"command": "resume"}
        with pytest.raises(ConfigurationError, match="stages"):
            learn_command(client, "now", "ppo,magic")


def test_topics_without_a_broker_is_a_usage_error_and_with_a_dead_one_a_failure(capsys: Output) -> None:
    assert main(["topics"]) == 2
    assert "THUMBWHEEL_KAFKA_BOOTSTRAP" in capsys.readouterr().err
    assert main(["topics", "--kafka-bootstrap", "127.0.0.1:9"]) == 1
    assert "no Kafka broker answers" in capsys.readouterr().err
