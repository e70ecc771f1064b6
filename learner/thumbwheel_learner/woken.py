"""Work beside the reading of the bus: done when it is called for, and tried again after a while."""

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class Woken:
    """For a thread of its own; what fails is said once, and tried again."""

    def __init__(self, work: Callable[[], int], complaint: str, *, retry_s: float = 15.0) -> None:
        """`work` returns how much it has done, nothing when there was none; `complaint` says what waits meanwhile."""
        self._work = work
        self._complaint = complaint
        self._retry_s = retry_s
        self._woken = threading.Event()
        self._said = ""

    def run(self, stop: threading.Event) -> None:
        """Do what there is, then whatever `wake` is called for, until `stop` is set."""
        while not stop.is_set():
            self._woken.clear()
            try:
                while not stop.is_set() and self._work():
                    pass
                self._said = ""
            except Exception as error:  # whatever it is: nothing is lost, and the next attempt goes on
                self._complain(error)
            self._woken.wait(self._retry_s)

    def wake(self) -> None:
        """There is something to do, or it is time to stop."""
        self._woken.set()

    def _complain(self, error: Exception) -> None:
        if str(error) != self._said:
            log.warning("%s: %s", self._complaint, error)
        self._said = str(error)
