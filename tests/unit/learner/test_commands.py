import argparse
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from thumbwheel.cli import main
from thumbwheel.errors import ConfigurationError
from thumbwheel_learner import commands
from thumbwheel_learner.reward.score import _pairs, _read


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    commands.register(parser.add_subparsers())
    return parser.parse_args(words)


def test_both_commands_are_offered() -> None:
    assert parse("learn").run is commands.learn
    assert parse("evaluate", "f").run is commands.evaluate


def test_only_one_word_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("learn", "--now", "--pause")
    assert "not allowed with" in capsys.readouterr().err


def test_options_reach_the_settings_over_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("THUMBWHEEL_DATA", "elsewhere")
    seen: list[Any] = []
    monkeypatch.setattr("thumbwheel_learner.main.run", lambda settings: seen.append(settings) or 0)
    arguments = parse("learn", "--data", str(tmp_path), "--url", "http://x:1", "--api-key", "k", "--model", "m")
    assert arguments.run(arguments) == 0
    [settings] = seen
    assert (settings.data, settings.url, settings.api_key, settings.model) == (tmp_path, "http://x:1", "k", "m")


def test_evaluating_without_a_reward_model_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"w")
    file = tmp_path / "pairs.jsonl"
    file.write_text("")
    words = ["evaluate", str(file), "--data", str(tmp_path / "data"), "--model", str(tmp_path / "model")]
    arguments = parse(*words)
    with pytest.raises(ConfigurationError, match="no reward model has been trained yet"):
        arguments.run(arguments)
    assert not (tmp_path / "data").exists()


def test_malformed_lines_keep_their_numbers_and_good_ones_become_pairs(tmp_path: Path) -> None:
    rows = [
        json.dumps({"chosen": "\n\nHuman: hi\n\nAssistant: hello", "rejected": "\n\nHuman: hi\n\nAssistant: go away"}),
        "{",
        json.dumps({"prompt": "hi", "chosen": "hello", "rejected": "no", "user": "ann"}),
        json.dumps({"prompt": "hi", "chosen": "hello"}),
    ]
    file = tmp_path / "pairs.jsonl.gz"
    file.write_bytes(gzip.compress("\n".join(rows).encode()))
    lines = _read(file)
    assert [line.number for line in lines if line.pair is None] == [2, 4]
    first, second = _pairs(lines)
    assert (first.messages, first.chosen) == ([{"role": "user", "content": "hi"}], "hello")
    assert (first.conversation_id, second.user) == (second.conversation_id, "ann")


def test_the_command_line_shows_both(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["learn", "--help"])
    assert "--pause" in capsys.readouterr().out
