"""A learner process that dies at a failpoint: `python -m tests.faults.learner`, settings as ever."""

import os
import sys

from thumbwheel import failpoint
from thumbwheel_learner.commands import learn_from_environment


def main() -> int:
    if os.environ.get("FAULTS_FAILPOINT"):
        failpoint.arm(os.environ["FAULTS_FAILPOINT"])
    return learn_from_environment({})


if __name__ == "__main__":
    sys.exit(main())
