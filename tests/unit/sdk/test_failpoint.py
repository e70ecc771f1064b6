import signal
import subprocess
import sys

import pytest

from thumbwheel import failpoint
from thumbwheel.errors import ConfigurationError

PROGRAM = """
from thumbwheel import failpoint
failpoint.arm("relay.appended:3")
for n in range(5):
    failpoint.reach("writer.committed")
    print(n, flush=True)
    failpoint.reach("relay.appended")
"""


def test_the_process_dies_at_the_pass_it_was_armed_for() -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=False, timeout=60)
    assert (ended.returncode, ended.stdout.split()) == (-signal.SIGKILL, [b"0", b"1", b"2"])


@pytest.mark.parametrize("where", ["nowhere:1", "relay.appended", "relay.appended:0", "relay.appended:-1", ""])
def test_a_failpoint_that_does_not_exist_is_refused(where: str) -> None:
    with pytest.raises(ConfigurationError, match="no failpoint"):
        failpoint.arm(where)
