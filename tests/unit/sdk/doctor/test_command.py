import argparse
from pathlib import Path

import msgspec
import pytest

from thumbwheel.doctor import register


def doctor(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers())
    parsed = parser.parse_args(["doctor", "--port", "0", *arguments])
    return parsed.run(parsed)


def test_one_line_per_check_and_a_sum(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor("--data", str(tmp_path)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith(("  ok  fsync", "warn  fsync")) for line in lines)
    assert "0 failed" in lines[-1]


def test_a_failure_is_told_with_its_mend_and_exits_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor("--data", str(tmp_path), "--model", str(tmp_path)) == 1
    printed = capsys.readouterr().out
    assert "FAIL  model" in printed
    assert "→ MODEL=" in printed


def test_the_same_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor("--data", str(tmp_path), "--model", str(tmp_path), "--json") == 1
    report = msgspec.json.decode(capsys.readouterr().out)
    assert report["ok"] is False
    states = {finding["check"]: finding["state"] for finding in report["findings"]}
    assert states["model"] == "fail"
    assert states["disk"] in ("ok", "warn")
