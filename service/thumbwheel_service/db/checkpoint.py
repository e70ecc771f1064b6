"""Carries SQLite's write-ahead log over into the database beside the writer, who need not stop for it."""

import logging
import sqlite3
import threading
from contextlib import closing
from typing import Literal

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

_log = logging.getLogger(__name__)
_EVERY_SECONDS = 0.25


class Checkpointer:
    """A thread of its own, for SQLite; elsewhere there is nothing to do.

    What it leaves behind the writer carries over itself (`wal_autocheckpoint`), in the middle of somebody's commit.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checkpoint", daemon=True)
        if engine.dialect.name == "sqlite":
            self._thread.start()

    def close(self) -> None:
        """Finish what runs; safe to call twice."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        said = ""
        while not self._stop.wait(_EVERY_SECONDS):
            try:
                checkpoint(self._engine)
                said = ""
            except (SQLAlchemyError, sqlite3.Error) as error:
                if said != (said := str(error)):
                    _log.warning("the write-ahead log is not carried over: %s", said)


def checkpoint(engine: Engine, mode: Literal["PASSIVE", "TRUNCATE"] = "PASSIVE") -> None:
    """As much as no reader needs, without keeping anybody from writing; or all, waiting for readers and writers."""
    with engine.connect() as connection, closing(connection.connection.cursor()) as cursor:
        cursor.execute(f"PRAGMA wal_checkpoint({mode})")
