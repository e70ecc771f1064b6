"""A `RolloutEngine` on the service's own engine: candidates go through the artifact store, samples come over HTTP."""

import contextlib
import hashlib
import itertools
import math
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import NamedTuple, TypeVar

import httpx
import msgspec

from thumbwheel.artifact import ADAPTER_FILES, sha256_file
from thumbwheel.internal import (
    MSGPACK,
    CandidateIn,
    CandidateLoaded,
    RolloutRequest,
    RolloutResult,
    Sampled,
)
from thumbwheel.retry import error_of
from thumbwheel_learner.errors import LearnerError
from thumbwheel_learner.rollouts.engine import Rollout
from thumbwheel_learner.runs.publish import describe, write_artifact

T = TypeVar("T")
CANDIDATES = "candidates"
BASE = "base"
_SAMPLE_S = 900.0
_LOAD_S = 120.0
_CHECK_S = 0.25


class RolloutFailed(LearnerError):
    """The service did not sample, or not what was asked for."""


class RolloutRefused(RolloutFailed):
    """The service will not do it, however often it is asked."""


class _Away(Exception):
    """No answer worth keeping; the same request may succeed later."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class _UnknownPolicy(Exception):
    """The service does not know the candidate: it was restarted since we loaded it."""


class _Candidate(NamedTuple):
    digest: str
    artifact: str
    name: str


class ServiceRollouts:
    """Samples from the serving engine at low priority; outlives restarts of the service.

    One candidate is loaded at a time, each under a new path. `http` carries the base URL and the admin key. `check` is
    called while answers are awaited, `on_wait` before every retry; what they raise ends the sampling, `check` at once
    and for good: it closes `http`. Close it to unload the candidate.
    """

    def __init__(
        self,
        http: httpx.Client,
        *,
        store: Path,
        key: bytes,
        base_model: str,
        sequences_per_call: int = 128,
        calls_at_once: int = 2,
        patience_s: float = 600.0,
        check: Callable[[], None] = lambda: None,
        on_wait: Callable[[str], None] = lambda reason: None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`base_model` is the fingerprint that manifests carry; `patience_s` bounds the waiting for one answer."""
        self._http = http
        self._store = store
        self._key = key
        self._base_model = base_model
        self._sequences = sequences_per_call
        self._calls_at_once = calls_at_once
        self._patience_s = patience_s
        self._check = check
        self._on_wait = on_wait
        self._sleep = sleep
        self._clock = clock
        self._candidate: _Candidate | None = None
        self._lock = threading.Lock()

    def sample(
        self,
        adapter: Path | None,
        prompts: Sequence[Sequence[int]],
        *,
        n: int,
        max_tokens: int,
        temperature: float,
        seed: int,
    ) -> list[list[Rollout]]:
        """`n` completions per prompt of token ids; raises `RolloutFailed`, `RolloutRefused`."""
        if not prompts:
            return []
        size = min(1024, max(1, self._sequences // n))
        first_seed = spread(seed)
        requests = [
            RolloutRequest(
                policy=BASE,
                prompts=[list(prompt) for prompt in prompts[start : start + size]],
                max_tokens=max_tokens,
                n=n,
                temperature=temperature,
                seed=first_seed + start,
            )
            for start in range(0, len(prompts), size)
        ]
        if adapter is not None:
            self._current(adapter)
        pool = ThreadPoolExecutor(self._calls_at_once, thread_name_prefix="rollouts")
        calls = [pool.submit(self._sample, adapter, request) for request in requests]
        try:
            while wait(calls, timeout=_CHECK_S, return_when=FIRST_EXCEPTION).not_done:
                self._check_or_hang_up()
                if any(call.done() and call.exception() for call in calls):
                    break
            return list(itertools.chain.from_iterable(call.result() for call in calls))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """Unload the candidate and remove its files; a service that is away forgets it by itself."""
        with self._lock:
            candidate, self._candidate = self._candidate, None
            if candidate is not None:
                self._forget(candidate)

    def clean(self) -> None:
        """Remove what an earlier learner left behind, in the store and in the engine."""
        for folder in sorted((self._store / CANDIDATES).glob("*")):
            self._forget(_Candidate("", f"{CANDIDATES}/{folder.name}", folder.name))

    def _check_or_hang_up(self) -> None:
        """When `check` raises, nobody waits for the calls under way: the connections are closed under them."""
        try:
            self._check()
        except BaseException:
            self._http.close()
            raise

    def _sample(self, adapter: Path | None, request: RolloutRequest) -> list[list[Rollout]]:
        """One call, loading the candidate again when the service has forgotten it."""
        for _ in range(5):
            candidate = self._current(adapter) if adapter is not None else None
            policy = candidate.name if candidate is not None else BASE
            asked = msgspec.structs.replace(request, policy=policy)
            try:
                result = self._patiently("POST", "/internal/rollouts", asked, RolloutResult, timeout_s=_SAMPLE_S)
            except _UnknownPolicy as error:
                if candidate is None:
                    raise RolloutRefused(f"the service does not know its own base policy: {error}") from error
                self._drop(candidate)
                continue
            return [[_checked(sampled) for sampled in row] for row in _shaped(result.completions, request)]
        raise RolloutFailed("the service forgets the candidate again and again")

    def _current(self, adapter: Path) -> _Candidate:
        """The loaded candidate with this adapter's weights, loading it when it is not the current one."""
        digest = hashlib.sha256("".join(sha256_file(adapter / name) for name in ADAPTER_FILES).encode()).hexdigest()
        with self._lock:
            if self._candidate is not None and self._candidate.digest == digest:
                return self._candidate
            if self._candidate is not None:
                self._forget(self._candidate)
                self._candidate = None
            name = f"c-{uuid.uuid4().hex[:12]}-{digest[:8]}"
            artifact = f"{CANDIDATES}/{name}"
            manifest = describe(adapter, version=name, parent=BASE, base_model=self._base_model)
            write_artifact(self._store, artifact, adapter, manifest, self._key)
            try:
                loaded = self._patiently("POST", "/internal/candidates", CandidateIn(artifact), CandidateLoaded)
            except BaseException as error:
                shutil.rmtree(self._store / artifact, ignore_errors=True)
                if isinstance(error, _UnknownPolicy):
                    raise RolloutRefused(f"the service does not find {artifact} in its store: {error}") from error
                raise
            self._candidate = _Candidate(digest, artifact, loaded.name)
            return self._candidate

    def _drop(self, candidate: _Candidate) -> None:
        """Forget a candidate that the service does not know, so that the next caller loads it under a new path."""
        with self._lock:
            if self._candidate is candidate:
                self._candidate = None
                shutil.rmtree(self._store / candidate.artifact, ignore_errors=True)

    def _forget(self, candidate: _Candidate) -> None:
        with contextlib.suppress(httpx.TransportError, RuntimeError):
            self._http.delete(f"/internal/candidates/{candidate.name}", timeout=10.0)
        shutil.rmtree(self._store / candidate.artifact, ignore_errors=True)

    def _patiently(self, method: str, path: str, body: object, kind: type[T], *, timeout_s: float = _LOAD_S) -> T:
        """Ask until there is an answer, at most `patience_s`; raises `RolloutFailed`, `RolloutRefused`."""
        deadline = self._clock() + self._patience_s
        wait_s = 0.25
        while True:
            try:
                return self._call(method, path, body, kind, timeout_s)
            except _Away as error:
                if self._clock() + wait_s > deadline:
                    raise RolloutFailed(f"{path} had no answer for {self._patience_s:.0f} s: {error}") from error
                self._on_wait(f"waiting for the service: {error}")
                self._sleep(max(wait_s, min(60.0, error.wait_s or 0.0)))
                wait_s = min(wait_s * 2, 10.0)

    def _call(self, method: str, path: str, body: object, kind: type[T], timeout_s: float) -> T:
        headers = {"content-type": MSGPACK, "accept": MSGPACK}
        timeout = httpx.Timeout(timeout_s, connect=5.0)
        try:
            response = self._http.request(
                method, path, content=msgspec.msgpack.encode(body), headers=headers, timeout=timeout
            )
        except httpx.TransportError as error:
            if self._http.is_closed:
                raise RolloutFailed("stopped while sampling") from error
            raise _Away(str(error) or type(error).__name__) from error
        if response.is_success:
            try:
                return msgspec.msgpack.decode(response.content, type=kind)
            except msgspec.MsgspecError as error:
                raise RolloutFailed(f"{path} did not answer with {kind.__name__}: {error}") from error
        refusal = error_of(response.status_code, response.content, response.headers)
        if response.status_code == 404:
            raise _UnknownPolicy(str(refusal))
        if refusal.code == "broken_rollout":
            raise RolloutRefused(str(refusal))
        if response.status_code in (408, 429) or response.status_code >= 500:
            raise _Away(str(refusal), refusal.retry_after)
        raise RolloutRefused(f"{path}: {refusal}")


def service_http(url: str, api_key: str) -> httpx.Client:
    """The connection to the service; no proxy of the environment belongs between the two halves."""
    return httpx.Client(base_url=url, headers={"authorization": f"Bearer {api_key}"}, trust_env=False)


def spread(seed: int) -> int:
    """A first seed far from those of neighbouring seeds, so that two phases of a run never repeat their noise."""
    return int.from_bytes(hashlib.sha256(str(seed).encode()).digest()[:7])


def _shaped(completions: list[list[Sampled]], request: RolloutRequest) -> list[list[Sampled]]:
    if len(completions) != len(request.prompts) or any(len(row) != request.n for row in completions):
        raise RolloutFailed(f"asked for {len(request.prompts)} × {request.n} completions, got another number")
    return completions


def _checked(sampled: Sampled) -> Rollout:
    if len(sampled.token_ids) != len(sampled.logprobs) or not all(map(math.isfinite, sampled.logprobs)):
        raise RolloutFailed("a completion came without a finite log-probability for each of its tokens")
    return Rollout(sampled.token_ids, sampled.logprobs, sampled.finish_reason == "stop", sampled.text)
