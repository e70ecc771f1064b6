"""Whether this process leads, by what torchrun says in the environment."""

import threading
from pathlib import Path

import pytest

from thumbwheel_learner.environment import BadSetting
from thumbwheel_learner.processes import lead_or_follow, started_by_torchrun
from thumbwheel_learner.settings import Settings, from_environment


@pytest.mark.parametrize(
    ("environment", "several"),
    [
        ({}, False),
        ({"RANK": "0", "WORLD_SIZE": "1"}, False),
        ({"WORLD_SIZE": "2"}, False),
        ({"RANK": "1", "WORLD_SIZE": "2"}, True),
    ],
)
def test_several_processes_are_those_that_torchrun_numbers(environment: dict[str, str], several: bool) -> None:
    assert started_by_torchrun(environment) is several


def test_a_process_alone_is_the_learner_and_has_no_crew(tmp_path: Path) -> None:
    settings = Settings(model=str(tmp_path), data=tmp_path)
    crews: list[object] = []

    def lead(crew: object) -> int:
        crews.append(crew)
        return 3

    assert lead_or_follow(settings, threading.Event(), lead) == 3
    assert crews == [None]


def test_the_base_is_spread_only_if_a_setting_says_so() -> None:
    named = {"THUMBWHEEL_MODEL": "base"}
    assert from_environment(named).training.shard_base == "no"
    assert from_environment({**named, "THUMBWHEEL_SHARD_BASE": "yes"}).training.shard_base == "yes"
    with pytest.raises(BadSetting, match="THUMBWHEEL_SHARD_BASE must be no or yes"):
        from_environment({**named, "THUMBWHEEL_SHARD_BASE": "maybe"})
