"""A learner process that dies at a failpoint: `python -m tests.faults.learner`, settings as ever."""

import sys

from tests.faults.arming import arm_from_environment

from thumbwheel_learner.commands import learn_from_environment


def main() -> int:
    arm_from_environment()
    return learn_from_environment({})


if __name__ == "__main__":
    sys.exit(main())
