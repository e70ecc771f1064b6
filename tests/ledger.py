"""The clients' own books through a fault: what they were told yes to, and how they were told no."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx

CHAT, FEEDBACK = "/v1/chat/completions", "/v1/feedback"
SLOWEST_SECONDS = 20.0
"""A yes or a no, whatever is down: the writer's patience and some room for a busy machine."""


class Ledger:
    """Everything that was acknowledged."""

    def __init__(self) -> None:
        self.chats: list[str] = []
        self.votes: dict[str, str] = {}
        """Feedback id by completion id."""
        self.refused = 0
        self.slowest = 0.0

    async def ask(self, https: Sequence[httpx.AsyncClient], path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Post until somebody says yes; every no must be a proper one."""
        for http in itertools.cycle(https):
            begun = time.monotonic()
            try:
                answer = await http.post(path, json=body, timeout=60.0)
            except httpx.TransportError:
                await asyncio.sleep(0.05)
                continue
            self.slowest = max(self.slowest, time.monotonic() - begun)
            if answer.is_success:
                return answer.json()
            check_refusal(answer)
            self.refused += 1
            await asyncio.sleep(0.05)
        raise AssertionError("no service to ask")

    async def person(self, https: Sequence[httpx.AsyncClient], name: str, stop: asyncio.Event) -> None:
        """Chat and vote on every answer until told to stop."""
        while not stop.is_set():
            body = {"messages": [{"role": "user", "content": f"Where is my order? {'x' * 2000}"}], "user": name}
            answer = await self.ask(https, CHAT, body)
            self.chats.append(answer["id"])
            thumb = {"kind": "thumb", "completion_id": answer["id"], "user": name, "value": "up"}
            record = await self.ask(list(reversed(https)), FEEDBACK, thumb)
            assert record["revision"] == 1
            self.votes[answer["id"]] = record["feedback_id"]

    @asynccontextmanager
    async def crowd(self, https: Sequence[httpx.AsyncClient], people: int = 8) -> AsyncIterator[None]:
        """People who go on for as long as the body does; one that is badly treated ends the test."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for i in range(people):
                group.create_task(self.person(https, f"user-{i}", stop))
            yield
            stop.set()

    async def grows(self, count: int, seconds: float = 60.0) -> None:
        """Return when that many more votes are in the books."""
        await self._more(lambda: len(self.votes), count, seconds)

    async def shrugs(self, count: int, seconds: float = 60.0) -> None:
        """Return when that many more requests were refused."""
        await self._more(lambda: self.refused, count, seconds)

    async def _more(self, reached: Any, count: int, seconds: float) -> None:
        goal, deadline = reached() + count, time.monotonic() + seconds
        while reached() < goal:
            assert time.monotonic() < deadline, f"{reached()} of {goal} within {seconds:.0f} s"
            await asyncio.sleep(0.02)

    async def check(self, http: httpx.AsyncClient) -> None:
        """Every chat is whole and has its one vote, and nothing was ever too slow."""
        assert len(self.chats) == len(set(self.chats))
        for completion_id in self.chats:
            turn = await whole(http, completion_id)
            assert turn["choices"][0]["text"].startswith("I am ")
            told = [(record["feedback_id"], record["revision"]) for record in turn.get("feedback", [])]
            assert told == ([(self.votes[completion_id], 1)] if completion_id in self.votes else [])
        assert self.slowest < SLOWEST_SECONDS


async def whole(http: httpx.AsyncClient, completion_id: str, seconds: float = 60.0) -> dict[str, Any]:
    """A turn once its last token is stored."""
    deadline = time.monotonic() + seconds
    while True:
        turn = (await http.get(f"/v1/turns/{completion_id}")).json()
        if turn["status"] == "complete":
            return turn
        assert turn["status"] == "open", turn
        assert time.monotonic() < deadline, f"{completion_id} stays open"
        await asyncio.sleep(0.1)


def check_refusal(answer: httpx.Response) -> None:
    """A 503 that says when to try again, in the form that this route's clients read."""
    assert answer.status_code == 503, (answer.status_code, answer.text)
    assert int(answer.headers["retry-after"]) >= 1
    body = answer.json()
    if answer.request.url.path == CHAT:
        assert set(body["error"]) == {"message", "type", "param", "code"}
        return
    assert answer.headers["content-type"] == "application/problem+json"
    assert (body["status"], body["title"]) == (503, "Unavailable")
    assert "try again" in body["detail"]


async def readiness(http: httpx.AsyncClient, is_ready: bool, seconds: float = 10.0) -> str:
    """What `/readyz` says of the database once it says yes, or no, as the caller expects."""
    deadline = time.monotonic() + seconds
    while True:
        answer = await http.get("/readyz")
        if (answer.status_code == 200) is is_ready:
            assert answer.status_code in (200, 503)
            return answer.json()["database"]
        assert time.monotonic() < deadline, answer.text
        await asyncio.sleep(0.1)
