import os
import subprocess
import sys
import time

from tests.processes import is_alive

PARENT = """
import subprocess, sys
from thumbwheel.commands.child import tied

child = subprocess.Popen(tied("http.server", "0", "--bind", "127.0.0.1"), stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
child.wait()
"""


def test_what_an_experiment_started_does_not_outlive_it() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-u", "-c", PARENT],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert is_alive(child)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + 30
    while is_alive(child) and time.monotonic() < until:
        time.sleep(0.05)
    assert not is_alive(child)
