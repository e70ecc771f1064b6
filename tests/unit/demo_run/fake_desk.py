"""A desk without processes: the public and admin routes over httpx's own mock transport."""

import itertools
import json
from typing import Any

import httpx

from thumbwheel import AsyncClient


class FakeDesk:
    """Answers chats from a table of versions, takes feedback, and learns whatever the test has planned.

    `plan` holds what the learner's runs lead to, in order: a version's name, or None for a run the gate rejects.
    """

    def __init__(self, plan: list[str | None], answers: dict[str, str] | None = None) -> None:
        self.plan = list(plan)
        self.answers = answers or {}
        self.live = "base"
        self.versions: dict[str, dict[str, Any]] = {}
        self.feedback: list[dict[str, Any]] = []
        self.stored = 0
        self.chats: list[dict[str, Any]] = []
        self.commands: list[dict[str, Any]] = []
        self.last_run: dict[str, Any] = {}
        self.waiting: list[dict[str, Any]] = []
        self.rejected_by_service: set[str] = set()
        self.deaf = False
        self.stage, self.progress = "ppo", 0.5
        self.looks, self.step = 1, 0.0
        """At a run before it has ended, and the progress from one to the next."""
        self.gone: Exception | None = None
        self.opened = self.closed = 0
        self._ids = itertools.count(1)

    def __call__(self, plan: object) -> "FakeDesk":
        return self

    async def __aenter__(self) -> "FakeDesk":
        self.opened += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self.closed += 1

    async def ready(self, on_wait) -> None:
        on_wait(0.0)

    def check(self) -> None:
        if self.gone is not None:
            raise self.gone

    def client(self, *, max_retries: int = 2) -> AsyncClient:
        return AsyncClient("http://127.0.0.1:1", max_retries=max_retries, transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path, body = request.url.path, json.loads(request.content or b"{}")
        if path == "/v1/chat/completions":
            return self._chat(body)
        if path == "/v1/feedback":
            return self._take(body)
        if path == "/v1/status":
            return httpx.Response(200, json=self._status())
        if path == "/v1/policies":
            return httpx.Response(200, json=self._policies())
        assert path == "/v1/learner/commands", path
        self.commands.append(body)
        if not self.deaf:
            self.waiting.append(body)
        return httpx.Response(200, json=body)

    def _chat(self, body: dict[str, Any]) -> httpx.Response:
        version = body.get("model") or self.live
        self.chats.append(body)
        self.stored += body.get("store", True)
        stamp = {"completion_id": f"c-{next(self._ids)}", "policy_version": version, "conversation_id": "k"}
        text = self.answers.get(version, "Go away.")
        whole = {"index": 0, "finish_reason": "stop"}
        if not body.get("stream"):
            message = {"role": "assistant", "content": text}
            return httpx.Response(
                200, json={"id": "x", "choices": [{**whole, "message": message}], "thumbwheel": stamp}
            )
        first = {"id": "x", "choices": [{"index": 0, "delta": {"content": text}}], "thumbwheel": stamp}
        last = {"id": "x", "choices": [{**whole, "delta": {}}]}
        lines = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in (first, last)) + "data: [DONE]\n\n"
        return httpx.Response(200, content=lines.encode(), headers={"content-type": "text/event-stream"})

    def _take(self, body: dict[str, Any]) -> httpx.Response:
        self.feedback.append(body)
        return httpx.Response(
            201,
            json={
                "feedback_id": f"f-{next(self._ids)}",
                "revision": 1,
                "retracted": False,
                "kind": body["kind"],
                "created_ms": 1,
                "updated_ms": 1,
                "feedback": body,
            },
        )

    def _status(self) -> dict[str, Any]:
        return {
            "version": "0", "model": "m", "alias": "thumbwheel", "live_policy": self.live, "epoch": 0, "uptime_s": 1.0,
            "chats_in_flight": 0, "turns": self.stored, "feedback": len(self.feedback), "bus": "embedded",
            "learner": self._learner(),
        }  # fmt: skip

    def _learner(self) -> dict[str, Any]:
        """Each command is first seen as a run, then as its end."""
        training = bool(self.waiting)
        status = {
            "state": "training" if training else "idle", "stage": self.stage if training else None,
            "progress": self.progress,
            "run_id": None, "detail": "busy" if training else "waiting for labels",
            "labels_total": len(self.feedback), "labels_new": 0, "updated_ms": 1,
            "reward_model": {"accuracy": {"mean": 0.8, "low": 0.7, "high": 0.9}, "auc": 0.9, "ece": 0.05},
            "last_run": self.last_run,
        }  # fmt: skip
        if training:
            self.looks -= 1
            self.progress += self.step
            if self.looks <= 0:
                self.waiting.pop()
                self._finish(self.plan.pop(0))
        return status

    def _finish(self, version: str | None) -> None:
        run = {"run_id": f"run-{next(self._ids)}", "version": version}
        if version is None:
            self.last_run = {**run, "outcome": "rejected", "reason": "does not win"}
            return
        self.last_run = {**run, "outcome": "published", "reason": "wins 70%"}
        state = "rejected" if version in self.rejected_by_service else "live"
        self.versions[version] = {
            "version": version, "state": state, "parent": self.live, "metrics": {"kl_to_base": 1.5},
            "verdict": {"win_rate": 0.7}, "swap_seconds": 0.125,
            "reason": "wrong rank" if state == "rejected" else None,
        }  # fmt: skip
        if state == "live":
            self.live = version

    def _policies(self) -> dict[str, Any]:
        return {"live": self.live, "epoch": 0, "policies": list(self.versions.values())}
