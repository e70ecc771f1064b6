"""A process of the fault suite may be told, by its environment, where to die."""

import os

from thumbwheel import failpoint


def arm_from_environment() -> None:
    """`FAULTS_FAILPOINT=<name>:<passes>` arms one; without it nothing is armed."""
    if os.environ.get("FAULTS_FAILPOINT"):
        failpoint.arm(os.environ["FAULTS_FAILPOINT"])
