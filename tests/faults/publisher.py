"""A process that publishes one policy version after another and dies at failpoints: `python -m tests.faults.publisher`.

It stands for the learner at the end of its runs, whose training would take too long here: the same parts, the same
start. What was interrupted is resumed under its run's id or, as often, given up, as a learner does that lost its run.
Told to stop, it announces what it has begun first.
"""

import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from sqlmodel import col, func, select
from tests.adapters import write_adapter
from tests.faults.arming import arm_from_environment

from thumbwheel.bus import BusError
from thumbwheel_learner.main import Parts
from thumbwheel_learner.runs.publish import Provenance
from thumbwheel_learner.settings import from_environment
from thumbwheel_learner.store.session import reading
from thumbwheel_learner.store.tables import VersionRow

PAUSE_S = 1.0
WIDTH = 192


def next_run(parts: Parts) -> int:
    """Runs whose version came to its end, and one."""
    ended = select(func.count()).where(col(VersionRow.state).in_(("announced", "withdrawn")))
    with reading(parts.engine) as session:
        return session.exec(ended).one() + 1


def publish(parts: Parts, number: int) -> None:
    provenance = Provenance(
        parent="base", base_model=parts.fingerprint, snapshot={}, reward_model={}, metrics={"run": number}, verdict={}
    )
    with tempfile.TemporaryDirectory() as folder:
        adapter = write_adapter(Path(folder), width=WIDTH, fill=1e-6 * number)
        parts.publisher.publish(f"run-{number}", adapter, provenance)


def insist(parts: Parts, action: Callable[[], object]) -> None:
    while True:
        try:
            action()
            return
        except BusError as error:
            print(f"not announced yet: {error}", file=sys.stderr)
            time.sleep(PAUSE_S)


def main() -> int:
    arm_from_environment()
    settings = from_environment(os.environ)
    key = Path(os.environ["FAULTS_KEY_FILE"]).read_text(encoding="utf-8").strip()
    stop = threading.Event()

    def told_to_stop(_signal: int, _frame: object) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, told_to_stop)
    with Parts(settings, key, stop) as parts:
        running = [f"run-{next_run(parts)}"] if random.random() < 0.5 else []
        insist(parts, lambda: parts.publisher.recover(running))
        while not parts.stop.wait(PAUSE_S):
            insist(parts, lambda: publish(parts, next_run(parts)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
