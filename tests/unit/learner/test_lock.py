import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from thumbwheel_learner.lock import AlreadyRunning, exclusive

HOLD = """
import sys, time
from pathlib import Path
from thumbwheel_learner.lock import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_learner_on_the_same_data_is_refused_until_the_first_dies(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert holder.stdout is not None
    with holder, holder.stdout:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(AlreadyRunning, match=rf"process {holder.pid}\) works on"), exclusive(tmp_path):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with exclusive(tmp_path):
        pass


def test_the_lock_is_let_go_at_the_end_of_the_block(tmp_path: Path) -> None:
    for _ in range(2):
        with exclusive(tmp_path / "new"):
            pass
