"""One chat from its first check to its last row, driven by a task of its own: no client can lose it by leaving."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from typing import Any

import msgspec
from litestar.types import Receive
from msgspec import Struct

from thumbwheel.events import TurnCompleted, now_ms
from thumbwheel.types import BODY_KEY, ChatStamp, Message
from thumbwheel_service.chat.extensions import Asked
from thumbwheel_service.chat.recorder import TurnRecorder
from thumbwheel_service.chat.spoken import DONE, Spoken, stamp_event
from thumbwheel_service.db.tables import CompletionRow
from thumbwheel_service.engine.protocol import ChatRequest, ChatRun, PolicyEngine
from thumbwheel_service.errors import ServiceError
from thumbwheel_service.policies.router import Lease
from thumbwheel_service.redaction.redactor import Beside


class _Messages(Struct):
    messages: list[Message]


class LiveTurn:
    """A chat under way: `answer` or `first` and `chunks` for the client, the recorder's rows for everyone else."""

    def __init__(
        self,
        *,
        engine: PolicyEngine,
        recorder: TurnRecorder,
        request: ChatRequest,
        lease: Lease,
        asked: Asked,
        stamp: ChatStamp,
        model: str,
        tenant: str,
        raw: bytes,
        on_end: Callable[["LiveTurn"], None],
    ) -> None:
        self.stamp = stamp
        self.stream = request.stream
        self.waited_seconds = 0.0
        """How long the first byte waited for our own work."""
        self._recorder = recorder
        self._request = request
        self._lease = lease
        self._asked = asked
        self._model = model
        self._tenant = tenant
        self._raw = raw
        self._on_end = on_end
        self._created_ms = now_ms()
        self._begun = time.perf_counter()
        self._spoken = Spoken()
        self._identity: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[Any] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._out: list[bytes] = []
        self._wake = asyncio.Event()
        self._over = False
        self._error: Exception | None = None
        self._run: ChatRun = engine.chat(
            request,
            completion_id=stamp.completion_id,
            policy=lease.served.engine_name,
            model=model,
            on_start=self._started,
        )
        self._spawn(self._drive_stream() if self.stream else self._drive_answer())

    def watch(self, receive: Receive) -> None:
        """Cut the chat short when the client goes away; the body must have been read already."""
        self._watcher = self._spawn(self._watch(receive))

    def leave(self) -> None:
        """Nobody listens any more: stop sampling, keep what there is."""
        if not self._over:
            self._spawn(self._run.abort())

    async def answer(self) -> bytes:
        """The whole answer; raises what the engine or the database had against it."""
        await self._ended()
        return b"".join(self._out)

    async def first(self) -> None:
        """Return when the first chunk may go out; raises what the engine or the database had against it."""
        while not self._out and not self._over:
            await self._wait()
        if not self._out and self._error is not None:
            raise self._error

    async def chunks(self) -> AsyncIterator[bytes]:
        """Server-sent events, several at once when the client is slow."""
        while True:
            if self._out:
                ready, self._out = self._out, []
                yield b"".join(ready)
            elif self._over:
                if self._error is not None:
                    yield _error_event(self._error)
                return
            else:
                await self._wait()

    async def _ended(self) -> None:
        while not self._over:
            await self._wait()
        if self._error is not None:
            raise self._error

    async def _wait(self) -> None:
        self._wake.clear()
        await self._wake.wait()

    def _started(self) -> None:
        """The engine has taken the chat: write its identity while the prompt is being read."""
        self.waited_seconds = time.perf_counter() - self._begun
        if self._asked.store:
            self._identity = self._recorder.open(self._row())
        else:
            self._identity = self._recorder.open_unstored(self.stamp.completion_id, self._tenant)
        self._identity.add_done_callback(self._identified)

    def _identified(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.leave()

    async def _drive_answer(self) -> None:
        try:
            body = await self._run.answer()
            self._spoken.hear_answer(body)
            await self._known()
            body[BODY_KEY] = self.stamp
            self._out.append(msgspec.json.encode(body))
        except Exception as error:
            self._error = error
        finally:
            self._end()

    async def _drive_stream(self) -> None:
        first = True
        try:
            async with aclosing(self._run.events()) as events:
                async for event in events:
                    self._spoken.hear_event(event)
                    if first:
                        await self._known()
                    if event == DONE:
                        self._close()
                    self._out.append((stamp_event(event, self.stamp) if first else event).encode())
                    self._wake.set()
                    first = False
        except Exception as error:
            self._error = error
        finally:
            self._end()

    async def _known(self) -> None:
        """Wait for the identity to be on disk; raises `Unavailable`, and then no byte goes out."""
        if self._identity is not None and not self._identity.done():
            ready = time.perf_counter()
            await asyncio.wait([self._identity])
            self.waited_seconds += time.perf_counter() - ready
        if self._identity is not None:
            await self._identity

    async def _watch(self, receive: Receive) -> None:
        while not self._over:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.leave()
                return

    def _end(self) -> None:
        self._close()
        if self._watcher is not None:
            self._watcher.cancel()
        self._wake.set()

    def _close(self) -> None:
        """The generation is over: write the turn, let the version go."""
        if self._over:
            return
        self._over = True
        self._lease.release()
        if self._is_recorded():
            sampled = [choice.text for choice in self._run.trace.choices.values()]
            self._recorder.close(self._tenant, self._turn(), Beside(self._raw, sampled))
        self._on_end(self)

    def _is_recorded(self) -> bool:
        if not self._asked.store or self._identity is None:
            return False
        identity = self._identity
        return not (identity.done() and (identity.cancelled() or identity.exception() is not None))

    def _row(self) -> CompletionRow:
        return CompletionRow(
            completion_id=self.stamp.completion_id,
            tenant=self._tenant,
            conversation_id=self.stamp.conversation_id,
            policy_version=self.stamp.policy_version,
            model=self._model,
            user=self._asked.user,
            status="open",
            origin="chat",
            n=self._request.n,
            owner=self._recorder.owner,
            created_ms=self._created_ms,
        )

    def _turn(self) -> TurnCompleted:
        trace = self._run.trace
        return TurnCompleted(
            completion_id=self.stamp.completion_id,
            conversation_id=self.stamp.conversation_id,
            policy_version=self.stamp.policy_version,
            status="complete" if self._spoken.finished(self._request.n) else "cut",
            origin="chat",
            created_ms=self._created_ms,
            finished_ms=now_ms(),
            messages=msgspec.json.decode(self._raw, type=_Messages).messages,
            choices=self._spoken.choices(trace),
            model=self._model,
            user=self._asked.user,
            prompt_token_ids=trace.prompt_token_ids,
            sampling=trace.sampling,
            metadata=self._asked.metadata,
        )

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _error_event(error: Exception) -> bytes:
    """What a client of a broken stream is told, as vLLM words it."""
    message = error.detail if isinstance(error, ServiceError) else "the answer broke off"
    body = {"error": {"message": message, "type": "server_error", "param": None, "code": "stream_broken"}}
    return b"data: " + msgspec.json.encode(body) + b"\n\n" + DONE.encode()
