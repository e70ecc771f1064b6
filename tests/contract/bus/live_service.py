"""The real service under uvicorn in a thread, by default over an engine that answers nothing; it can be restarted."""

import contextlib
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from tests.serving import admin_key, idle_app


class LiveService:
    """One service on a free port; what it has on disk survives `stop` and `start`."""

    def __init__(self, data: Path, make_app: Callable[[Path], Any] = idle_app) -> None:
        self._data = data
        self._make_app = make_app
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self.url = f"http://127.0.0.1:{self._port}"

    @property
    def key(self) -> str:
        return admin_key(self._data)

    def start(self) -> None:
        self._app: Any = self._make_app(self._data)
        config = uvicorn.Config(self._app, host="127.0.0.1", port=self._port, log_config=None, lifespan="on")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="service")
        self._thread.start()
        deadline = time.monotonic() + 30
        while not self._server.started:
            assert self._thread.is_alive(), "the service did not start"
            assert time.monotonic() < deadline, "the service does not start"
            time.sleep(0.01)

    def stop(self) -> None:
        if self._server is None or self._thread is None:
            return
        self._app.state.stopping()
        self._server.should_exit = True
        self._thread.join(30)
        assert not self._thread.is_alive()
        self._server = None

    def trim(self, topic: str, partition: int, before: int) -> None:
        """What pruning does, behind the service's back."""
        with contextlib.closing(sqlite3.connect(self._data / "service.db", timeout=30)) as database, database:
            where = (topic, partition, before)
            database.execute('DELETE FROM log WHERE topic = ? AND partition = ? AND "offset" < ?', where)
            database.execute(
                "UPDATE log_head SET first = ? WHERE topic = ? AND partition = ?", (before, topic, partition)
            )
