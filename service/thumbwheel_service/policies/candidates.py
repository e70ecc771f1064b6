"""The learner's own candidates: hidden adapters to sample from, never listed, never answering anyone's chat.

How a learner uses them (bodies are MessagePack, types in `thumbwheel.internal`, admin key needed):

    write a signed artifact below <store>/candidates/<anything>
    POST /internal/candidates  CandidateIn(artifact="candidates/<anything>")      -> CandidateLoaded(name)
    POST /internal/rollouts    RolloutRequest(policy=name, prompts=[[ids]…], …)    -> RolloutResult
    DELETE /internal/candidates/<name>

`policy` may also be a loaded public version or `base`. At most `MAX_CANDIDATES` stay loaded; the one unused longest
goes first, so a learner that died leaves nothing behind for long.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator

from thumbwheel.internal import CandidateLoaded, RolloutRequest, RolloutResult
from thumbwheel_service.engine.protocol import AdapterRefused, PolicyEngine
from thumbwheel_service.errors import BadInput, Missing, TooMany, Unavailable
from thumbwheel_service.policies.artifacts import ArtifactShelf, Fetched, Rejected
from thumbwheel_service.policies.router import Served
from thumbwheel_service.policies.service import PolicyService

PREFIX = "candidates/"
MAX_CANDIDATES = 3
IDLE_SECONDS = 1800.0
"""A candidate unused for so long is taken to be forgotten."""
_LOOK_SECONDS = 60.0


class NotACandidate(BadInput):
    """Candidates lie below `candidates/`."""

    code = "not_a_candidate"


class UnknownPolicy(Missing):
    """No candidate and no loaded version has this name."""

    code = "unknown_policy"


class BrokenRollout(Unavailable):
    """The policy gave log-probabilities that are not finite."""

    code = "broken_rollout"


class _Candidate:
    def __init__(self, fetched: Fetched) -> None:
        self.fetched = fetched
        self.served = Served(fetched.engine_name, fetched.engine_name)
        self.used = time.monotonic()


class CandidateService:
    """Loads, samples from and forgets candidates."""

    def __init__(self, engine: PolicyEngine, shelf: ArtifactShelf, policies: PolicyService) -> None:
        self.idle_seconds = IDLE_SECONDS
        self._engine = engine
        self._shelf = shelf
        self._policies = policies
        self._candidates: dict[str, _Candidate] = {}
        self._lock = asyncio.Lock()

    async def load(self, artifact: str) -> CandidateLoaded:
        """Verify and load; raises `NotACandidate`, `Rejected`, `EngineDown`, `TooMany`."""
        begun = time.monotonic()
        if not artifact.startswith(PREFIX):
            raise NotACandidate(f"a candidate's artifact lies below {PREFIX}", field="artifact")
        async with self._lock:
            await self._make_room()
            fetched = await asyncio.get_running_loop().run_in_executor(None, self._shelf.fetch, artifact)
            try:
                await self._engine.load(fetched.engine_name, fetched.folder)
            except AdapterRefused as error:
                self._shelf.discard(fetched.folder)
                raise Rejected(error.detail) from error
            except BaseException:
                self._shelf.discard(fetched.folder)
                raise
            self._candidates[fetched.engine_name] = _Candidate(fetched)
        return CandidateLoaded(name=fetched.engine_name, seconds=time.monotonic() - begun)

    async def forget(self, name: str) -> None:
        """Unload a candidate once nobody samples from it; raises `UnknownPolicy`."""
        async with self._lock:
            if name not in self._candidates:
                raise UnknownPolicy(f"no candidate {name!r}", field="name")
            await self._unload(name)

    async def sample(self, request: RolloutRequest) -> RolloutResult:
        """Sample completions; raises `UnknownPolicy`, `BrokenRollout`, `ChatRefused`, `EngineDown`."""
        begun = time.monotonic()
        async with self._held(request.policy) as engine_name:
            completions = await self._engine.sample(
                engine_name,
                request.prompts,
                n=request.n,
                max_tokens=request.max_tokens,
                temperature=request.temperature,
                seed=request.seed,
            )
        finite = all(math.isfinite(value) for row in completions for sample in row for value in sample.logprobs)
        if not finite:
            raise BrokenRollout(f"{request.policy} gives log-probabilities that are not finite")
        return RolloutResult(completions=completions, policy=request.policy, seconds=time.monotonic() - begun)

    async def watch_idle(self) -> None:
        """Forget idle candidates, now and every minute, until cancelled."""
        while True:
            await self.forget_idle()
            await asyncio.sleep(_LOOK_SECONDS)

    async def forget_idle(self) -> None:
        """Unload candidates that nobody has used for long."""
        async with self._lock:
            limit = time.monotonic() - self.idle_seconds
            for name, candidate in list(self._candidates.items()):
                if candidate.used < limit and not candidate.served.in_flight:
                    await self._unload(name)

    @contextlib.asynccontextmanager
    async def _held(self, policy: str) -> AsyncIterator[str]:
        candidate = self._candidates.get(policy)
        if candidate is None:
            with self._policies.hold(policy) as engine_name:
                if engine_name is None:
                    raise UnknownPolicy(f"no candidate and no loaded version {policy!r}", field="policy")
                yield engine_name
            return
        candidate.used = time.monotonic()
        candidate.served.take()
        try:
            yield candidate.served.engine_name
        finally:
            candidate.used = time.monotonic()
            candidate.served.give_back()

    async def _make_room(self) -> None:
        while len(self._candidates) >= MAX_CANDIDATES:
            idle = [name for name, candidate in self._candidates.items() if not candidate.served.in_flight]
            if not idle:
                raise TooMany(f"{MAX_CANDIDATES} candidates are being sampled from")
            await self._unload(min(idle, key=lambda name: self._candidates[name].used))

    async def _unload(self, name: str) -> None:
        candidate = self._candidates.pop(name)
        await candidate.served.drained()
        await self._engine.unload(name)
        self._shelf.discard(candidate.fetched.folder)
