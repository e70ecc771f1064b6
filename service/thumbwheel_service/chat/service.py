"""Takes chats in: who answers, under which identity, within which limits."""

import asyncio
import time
import uuid
from collections.abc import Mapping

import msgspec

from thumbwheel.types import ChatStamp
from thumbwheel_service.chat.extensions import Asked, take
from thumbwheel_service.chat.recorder import TurnRecorder
from thumbwheel_service.chat.turn import LiveTurn
from thumbwheel_service.engine.protocol import ChatRequest, PolicyEngine
from thumbwheel_service.errors import BadInput, TooMany, Unavailable
from thumbwheel_service.http import decode
from thumbwheel_service.metrics import Metrics
from thumbwheel_service.policies.router import Lease, Router

_body = msgspec.json.Decoder(dict)


class ServiceStopping(Unavailable):
    """No new chats: the service is going down."""

    code = "stopping"


class NotAnObject(BadInput):
    """The chat body is JSON, but no object."""

    code = "malformed_body"


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
        self._started_s = int(time.time())

    @property
    def in_flight(self) -> int:
        """Chats being answered now."""
        return len(self._turns)

    def begin(self, tenant: str, raw: bytes, headers: Mapping[str, str]) -> LiveTurn:
        """Start a chat; raises `BadInput`, `UnknownModel`, `ChatRefused`, `EngineDown`, `TooMany`."""
        if self._stopping:
            raise ServiceStopping("the service is stopping")
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
        deadline = time.monotonic() + seconds
        while self._turns and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        for turn in list(self._turns):
            turn.leave()
        grace = time.monotonic() + 5.0
        while self._turns and time.monotonic() < grace:
            await asyncio.sleep(0.02)
        await self._recorder.drain()

    def _turn(self, request: ChatRequest, lease: Lease, asked: Asked, tenant: str, raw: bytes) -> LiveTurn:
        stamp = ChatStamp(
            completion_id=f"chatcmpl-{uuid.uuid4().hex}",
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
