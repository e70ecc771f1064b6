"""Takes chats in: who answers, under which identity, within which limits."""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from thumbwheel.events import new_id
from thumbwheel.types import ChatStamp
from thumbwheel_service.chat.extensions import Asked, take
from thumbwheel_service.chat.recorder import TurnRecorder
from thumbwheel_service.chat.turn import LiveTurn
from thumbwheel_service.engine.protocol import ChatRequest, PolicyEngine
from thumbwheel_service.errors import TooMany, Unavailable
from thumbwheel_service.http import decode
from thumbwheel_service.metrics import Metrics
from thumbwheel_service.policies.router import Lease, Router

_body = msgspec.json.Decoder(dict[str, Any])
_ABORT_SECONDS = 5.0
"""An engine that lives ends aborted chats within milliseconds."""


class ServiceStopping(Unavailable):
    """No new chats: the service is going down."""

    code = "stopping"


class ChatService:
    """Starts chats and knows those under way."""

    def __init__(
        self, engine: PolicyEngine, router: Router, recorder: TurnRecorder, metrics: Metrics, *, limit: int
    ) -> None:
        self._engine = engine
        self._router = router
        self._recorder = recorder
        self._metrics = metrics
        self._limit = limit
        self._turns: set[LiveTurn] = set()
        self._stopping = False
        self._idle = asyncio.Event()
        self._started_s = int(time.time())

    @property
    def in_flight(self) -> int:
        """Chats being answered now."""
        return len(self._turns)

    def begin(self, tenant: str, raw: bytes, headers: Mapping[str, str]) -> LiveTurn:
        """Start a chat; raises `BadInput`, `UnknownModel`, `ChatRefused`, `EngineDown`, `TooMany`."""
        if self._stopping:
            raise ServiceStopping("the service is stopping; try again")
        if self.in_flight >= self._limit:
            raise TooMany(f"{self._limit} chats are being answered already")
        body = decode(_body, raw)
        asked = take(body, headers)
        lease = self._router.lease(asked.model)
        try:
            turn = self._turn(self._engine.parse(body), lease, asked, tenant, raw)
        except BaseException:
            lease.release()
            raise
        self._turns.add(turn)
        self._metrics.chats_in_flight.set(self.in_flight)
        return turn

    def models(self) -> dict[str, object]:
        """OpenAI's list of models: the alias of the live policy, and every version that can be pinned."""
        names = [self._router.alias, *(served.version for served in self._router.public())]
        return {"object": "list", "data": [self._model(name) for name in names]}

    def model(self, name: str) -> dict[str, object]:
        """One model of the list; raises `UnknownModel`."""
        with self._router.lease(name):
            return self._model(name)

    async def drain(self, seconds: float) -> None:
        """Take no new chats; let those under way end, cut what is left after `seconds`; return when all are stored."""
        self._stopping = True
        await self._idle_within(seconds)
        for turn in list(self._turns):
            turn.leave()
        await self._idle_within(_ABORT_SECONDS)
        await self._recorder.drain()

    async def _idle_within(self, seconds: float) -> None:
        if self._turns:
            self._idle.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._idle.wait()

    def _turn(self, request: ChatRequest, lease: Lease, asked: Asked, tenant: str, raw: bytes) -> LiveTurn:
        stamp = ChatStamp(
            completion_id=new_id("chatcmpl"),
            policy_version=lease.served.version,
            conversation_id=asked.conversation_id,
        )
        return LiveTurn(
            engine=self._engine,
            recorder=self._recorder,
            request=request,
            lease=lease,
            asked=asked,
            stamp=stamp,
            model=asked.model or self._router.alias,
            tenant=tenant,
            raw=raw,
            on_end=self._ended,
        )

    def _ended(self, turn: LiveTurn) -> None:
        self._turns.discard(turn)
        if not self._turns:
            self._idle.set()
        self._metrics.chats_in_flight.set(self.in_flight)
        self._metrics.overhead_seconds.observe(turn.waited_seconds)

    def _model(self, name: str) -> dict[str, object]:
        info = self._engine.info
        return {
            "id": name,
            "object": "model",
            "created": self._started_s,
            "owned_by": "thumbwheel",
            "root": self._router.live.version if name == self._router.alias else name,
            "max_model_len": info.max_model_len,
        }
