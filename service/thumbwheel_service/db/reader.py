"""Reads in a few threads of their own, so that no query ever holds up the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlmodel import Session

from thumbwheel_service.errors import Unavailable

T = TypeVar("T")


class NotRead(Unavailable):
    """The database did not answer."""


class Reader:
    """Runs read-only functions of a `Session`, each in its own short transaction."""

    def __init__(self, engine: Engine, *, threads: int = 4) -> None:
        self._engine = engine
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="reader")

    async def run(self, query: Callable[[Session], T]) -> T:
        """The result of `query`; raises what it raises, and `Unavailable` when the database does not answer."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, query)

    def _read(self, query: Callable[[Session], T]) -> T:
        try:
            with Session(self._engine, autoflush=False, expire_on_commit=False) as session:
                return query(session)
        except (OperationalError, InterfaceError) as error:
            raise NotRead("the database does not answer; try again") from error

    def close(self) -> None:
        """Finish what runs; safe to call twice."""
        self._pool.shutdown()
