"""Reads in a few threads of their own, so that no query ever holds up the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import Engine

from thumbwheel_service.db.keyring import Keyring
from thumbwheel_service.db.patience import PATIENCE_SECONDS, within
from thumbwheel_service.db.session import Session
from thumbwheel_service.db.trouble import is_trouble, reason_of
from thumbwheel_service.errors import TooMany, Unavailable

T = TypeVar("T")


class NotRead(Unavailable):
    """The database did not answer."""


class Reader:
    """Runs read-only functions of a `Session`, each in its own short transaction."""

    def __init__(
        self,
        engine: Engine,
        keyring: Keyring,
        *,
        threads: int = 4,
        capacity: int = 4096,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._engine = engine
        self._keyring = keyring
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="reader")
        self._capacity = capacity
        self._patience = patience
        self._waiting = 0

    async def run(self, query: Callable[[Session], T]) -> T:
        """The result of `query`; raises what it raises, `TooMany` when too many wait, and `Unavailable`.

        The latter when the database fails, or has not answered within the reader's patience.
        """
        if self._waiting >= self._capacity:
            raise TooMany("too many reads are waiting")
        self._waiting += 1
        try:
            async with within(self._patience, NotRead("the database does not answer; try again")):
                return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, query)
        finally:
            self._waiting -= 1

    def _read(self, query: Callable[[Session], T]) -> T:
        try:
            with Session(self._engine, self._keyring) as session:
                return query(session)
        except Exception as error:
            if not is_trouble(error):
                raise
            raise NotRead(f"the database does not answer ({reason_of(error)}); try again") from error

    def close(self) -> None:
        """Finish what runs; safe to call twice."""
        self._pool.shutdown()
