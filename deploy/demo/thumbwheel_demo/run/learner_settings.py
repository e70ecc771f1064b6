"""How the learner is set for the demo: called only when the demo says so, reporting often."""

from thumbwheel_demo.run.options import DemoOptions

QUICK = {"THUMBWHEEL_PPO_ANSWERS_PER_LABEL": "7", "THUMBWHEEL_PPO_ITERATIONS": "16"}
"""A quarter of the answers per label and a third of the iterations that the learner would make, for a demo that is over
in ten minutes."""


def learner_environment(options: DemoOptions) -> dict[str, str]:
    """Settings of the learner for one run; whatever is not named here keeps the learner's own default."""
    return {
        "THUMBWHEEL_SEED": str(options.seed),
        "THUMBWHEEL_LEARN_EVERY": "0",
        "THUMBWHEEL_LEARN_AFTER_LABELS": "0",
        "THUMBWHEEL_REPORT_EVERY": "0.5",
        **QUICK,
        **options.settings,
    }
