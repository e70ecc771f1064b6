"""vLLM's engine process belongs to its service: it ends when the service is gone, and not before."""

import multiprocessing
import os
import signal
import threading

_ENGINE_PROCESSES = ("EngineCore", "VllmWorker")


def end_with_parent() -> None:
    """In an engine's process: end at once when the process that started it is gone, and ignore Ctrl-C until then.

    Without this a killed service leaves its engine and the engine's memory behind, and Ctrl-C, which a terminal sends
    to every process of the group, stops the engine under the chats that the service still wants to finish.
    """
    parent = multiprocessing.parent_process()
    if parent is None or not multiprocessing.current_process().name.startswith(_ENGINE_PROCESSES):
        return
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()
