"""One turn of the wheel: people chat and vote, the learner learns, the service swaps."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from thumbwheel import AsyncClient, ConnectionFailed, ThumbwheelError
from thumbwheel.types import LearnerStatus, PolicyVersion, ServiceStatus
from thumbwheel_demo.report.record import Gate, Swap
from thumbwheel_demo.run.options import Stage

POLL_S = 0.5
CATCH_UP_S = 30.0
BEGIN_S = 60.0
FOLLOW_S = 60.0
JUDGING = 0.8
"""Share of the gate's progress from which the verdict, and with it the swap, is near."""


class LearnerSilent(ThumbwheelError):
    """The learner began no run in time, or fell silent in one; the message holds its last word."""


@dataclass(frozen=True)
class Outcome:
    """What a run of the learner led to."""

    gate: Gate
    swap: Swap | None
    version: PolicyVersion | None
    reward_model: dict[str, Any]


class Wheel:
    """Drives learner and policies through the admin routes and watches what becomes of it."""

    def __init__(
        self,
        client: AsyncClient,
        *,
        seconds: Callable[[], float],
        in_flight: Callable[[], int],
        rush: Callable[[bool], None] = lambda _: None,
        now: Callable[[str], None],
        check: Callable[[], None],
        patience_s: float,
    ) -> None:
        self._client = client
        self._seconds = seconds
        self._in_flight = in_flight
        self._rush = rush
        self._now = now
        self._check = check
        self._patience_s = patience_s

    async def _status(self) -> ServiceStatus:
        """One look, by way of hiccups; raises what `check` raises when the processes are gone."""
        while True:
            self._check()
            try:
                return await self._client.status()
            except ConnectionFailed:
                await asyncio.sleep(POLL_S)

    async def caught_up(self, labels: int) -> None:
        """Wait until the learner has stored `labels` labels, or half a minute: it learns from what it has."""
        until = time.monotonic() + CATCH_UP_S
        while time.monotonic() < until:
            learner = (await self._status()).learner
            if learner is not None and learner.labels_total >= labels:
                return
            self._now(f"the learner has {learner.labels_total if learner else 0} of {labels} labels")
            await asyncio.sleep(POLL_S)

    async def learn(self, turn: int, stages: tuple[Stage, ...]) -> Outcome:
        """Ask for a run, wait for its end and for the swap it leads to; raises `LearnerSilent`."""
        try:
            return await self._learn(turn, stages)
        finally:
            self._rush(False)

    async def _learn(self, turn: int, stages: tuple[Stage, ...]) -> Outcome:
        before = await self._status()
        known = _last_id(before.learner)
        await self._client.learner.now(stages)
        learner = await self._run_ended(known)
        figures = learner.last_run
        version = str(figures.get("version") or "") or None
        accepted = figures.get("outcome") == "published" and version is not None
        gate = Gate(
            turn=turn,
            version=version,
            accepted=accepted,
            reason=str(figures.get("reason") or figures.get("detail") or learner.detail),
            figures=figures,
        )
        if version is None or not accepted:
            return Outcome(gate, None, None, learner.reward_model)
        return await self._followed(gate, version, before.live_policy, learner.reward_model)

    async def _run_ended(self, known: str | None) -> LearnerStatus:
        started = heard = time.monotonic()
        begun = False
        last, before = "no word yet", None
        while time.monotonic() - heard < self._patience_s:
            learner = (await self._status()).learner
            if learner is not None:
                begun = begun or learner.state == "training"
                last = learner.detail or learner.state
                news = (learner.state, learner.stage, learner.progress, learner.detail)
                if news != before:
                    heard, before = time.monotonic(), news
                share = f" {learner.progress:.0%}" if learner.progress is not None else ""
                self._now(f"{learner.stage or learner.state}{share} {learner.detail}")
                if learner.stage == "publish" or (learner.stage == "gate" and (learner.progress or 0.0) >= JUDGING):
                    self._rush(True)
                if learner.state != "training" and _last_id(learner) not in (None, known):
                    return learner
            if not begun and time.monotonic() - started > BEGIN_S:
                raise LearnerSilent(f"the learner began no run within {BEGIN_S:.0f} s; its last word: {last}")
            await asyncio.sleep(POLL_S)
        raise LearnerSilent(f"the learner said nothing new for {self._patience_s:.0f} s; its last word: {last}")

    async def _followed(self, gate: Gate, version: str, previous: str, reward_model: dict[str, Any]) -> Outcome:
        """Wait until the service serves the version, or says why it will not."""
        until = time.monotonic() + FOLLOW_S
        while time.monotonic() < until:
            self._check()
            listed = await self._client.policies.list()
            found = next((p for p in listed.policies if p.version == version), None)
            if found is not None and found.state == "rejected":
                return Outcome(_refused(gate, f"the service rejected it: {found.reason}"), None, None, reward_model)
            if found is not None and listed.live == version:
                swap = Swap(
                    version=version,
                    previous=previous,
                    seconds=found.swap_seconds or 0.0,
                    at_s=self._seconds(),
                    chats_in_flight=self._in_flight(),
                )
                return Outcome(gate, swap, found, reward_model)
            self._now(f"waiting for the service to serve {version}")
            await asyncio.sleep(0.05)
        return Outcome(
            _refused(gate, f"the service did not serve it within {FOLLOW_S:.0f} s"), None, None, reward_model
        )


def _last_id(learner: LearnerStatus | None) -> str | None:
    return str(learner.last_run["run_id"]) if learner is not None and learner.last_run.get("run_id") else None


def _refused(gate: Gate, reason: str) -> Gate:
    return Gate(turn=gate.turn, version=gate.version, accepted=False, reason=reason, figures=gate.figures)
