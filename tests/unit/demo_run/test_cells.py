import os
import subprocess
import sys
import time
from pathlib import Path

PARENT = """
import subprocess, sys
from thumbwheel_demo.experiments.cells import tied

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
    assert _runs(child)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + 30
    while _runs(child) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _runs(child)


def _runs(pid: int) -> bool:
    """Not a zombie that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
