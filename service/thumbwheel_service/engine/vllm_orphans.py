"""vLLM's engine process outlives a service that is killed, and keeps its memory; ours ends with its parent."""

import multiprocessing
import os
import threading

_ENGINE_PROCESSES = ("EngineCore", "VllmWorker")


def end_with_parent() -> None:
    """In an engine's process: end at once when the process that started it is gone. Elsewhere: nothing."""
    parent = multiprocessing.parent_process()
    if parent is None or not multiprocessing.current_process().name.startswith(_ENGINE_PROCESSES):
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()
