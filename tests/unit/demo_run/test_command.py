import argparse

import pytest

from thumbwheel_demo.commands import register
from thumbwheel_demo.run.main import options_of, run_command, settings_of, write_report
from thumbwheel_demo.run.options import BadOption, DemoOptions

from .reports import report


def _parse(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers())
    return parser.parse_args(["demo", *given])


def test_without_options_a_run_is_the_default_one():
    assert options_of(_parse()) == DemoOptions()


def test_options_reach_the_run():
    options = options_of(
        _parse(
            "--seed", "3", "--noise", "0.3", "--shuffle-votes", "--stages", "reward,ppo", "--corrections", "0",
            "--set", "THUMBWHEEL_PPO_ITERATIONS=2",
        )
    )  # fmt: skip
    assert (options.seed, options.noise, options.shuffle_votes, options.corrections) == (3, 0.3, True, 0.0)
    assert options.stages == ("reward", "ppo")
    assert options.settings == {"THUMBWHEEL_PPO_ITERATIONS": "2"}


def test_a_bad_option_is_a_message_and_not_a_traceback(capsys):
    assert run_command(_parse("--noise", "7")) == 1
    assert "--noise is a share" in capsys.readouterr().err


def test_a_setting_needs_a_value():
    with pytest.raises(BadOption, match="THUMBWHEEL_SEED"):
        settings_of(["THUMBWHEEL_SEED"])


def test_json_and_page_are_written_side_by_side(tmp_path):
    write_report(DemoOptions(out=tmp_path), report())
    assert (tmp_path / "report.json").exists()
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
