from pathlib import Path

from thumbwheel_demo.run.learner_settings import learner_environment
from thumbwheel_demo.run.options import DemoOptions


def test_the_demo_trains_shortly_unless_it_is_told_otherwise(tmp_path: Path) -> None:
    told = learner_environment(DemoOptions(out=tmp_path, seed=7))
    assert (told["THUMBWHEEL_PPO_ANSWERS_PER_LABEL"], told["THUMBWHEEL_PPO_ITERATIONS"]) == ("7", "16")
    assert told["THUMBWHEEL_SEED"] == "7"
    longer = learner_environment(DemoOptions(out=tmp_path, settings={"THUMBWHEEL_PPO_ITERATIONS": "48"}))
    assert longer["THUMBWHEEL_PPO_ITERATIONS"] == "48"
