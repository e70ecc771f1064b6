"""A service process that dies at a failpoint: `python -m tests.faults.service`, settings as ever.

`FAULTS_ENGINE=fake` answers without a model; `FAULTS_FAILPOINT=<name>:<passes>` arms one.
"""

import os
import sys

from tests.faults.arming import arm_from_environment
from tests.service_process import fake_engine

from thumbwheel_service.server import build_engine, run
from thumbwheel_service.settings import from_environment


def main() -> int:
    arm_from_environment()
    fake = os.environ["FAULTS_ENGINE"] == "fake"
    return run(from_environment(), fake_engine if fake else build_engine)


if __name__ == "__main__":
    sys.exit(main())
