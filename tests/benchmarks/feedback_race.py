"""Feedback in the same millisecond as the last token, given through the other of two service processes.

    python -m tests.benchmarks.feedback_race [--count 1000] [--out build/benchmarks/feedback_race.json]

Two real processes over a fake engine share one PostgreSQL. Each chat is streamed from the first; the instant its last
line is there the thumb goes to the second, while the first is still writing the turn down. The report says how many of
the thumbs were accepted, how many met a turn that was still open, and whether every event came once, with its answer.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from sqlalchemy import select
from sqlmodel import Session
from tests.contract.service.store import events
from tests.databases import postgres_url
from tests.service_process import ServiceProcess

from thumbwheel_service.db.engine import connect
from thumbwheel_service.db.tables import CompletionRow, FeedbackRow

_CHAT = {"messages": [{"role": "user", "content": "Where is my order?"}], "stream": True}


class Told(NamedTuple):
    """How one thumb was answered."""

    status: int
    milliseconds: float
    """From the chat's last line to the answer."""


async def race(left: httpx.AsyncClient, right: httpx.AsyncClient, count: int, *, at_once: int = 8) -> list[Told]:
    """So many chats, each with one thumb."""
    answers: list[Told] = []
    turns = iter(range(count))

    async def runner() -> None:
        for _ in turns:
            async with left.stream("POST", "/v1/chat/completions", json=_CHAT) as stream:
                completion_id = stream.headers["x-thumbwheel-completion-id"]
                async for line in stream.aiter_lines():
                    if line == "data: [DONE]":
                        break
                begun = time.perf_counter()
                thumb = {"kind": "thumb", "completion_id": completion_id, "value": "up"}
                answer = await right.post("/v1/feedback", json=thumb)
                answers.append(Told(answer.status_code, (time.perf_counter() - begun) * 1000))

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(runner())
    return answers


def told(database_url: str) -> dict[str, Any]:
    """What became of the turns and of the thumbs on them, by the database's own account."""
    database = connect(database_url)
    with Session(database) as session:
        status = Counter(session.execute(select(CompletionRow.status)).scalars())
        waiting = len(session.execute(select(FeedbackRow.feedback_id).where(FeedbackRow.pending_event)).all())
        heard = Counter((e.feedback_id, e.revision) for e in events(session))
        whole = sum(e.answer == "I am base" and e.turn_status == "complete" for e in events(session))
    database.dispose()
    return {
        "turns": dict(status),
        "events": sum(heard.values()),
        "events_with_their_answer": whole,
        "events_twice": sum(n - 1 for n in heard.values()),
        "events_missing": waiting,
    }


async def settled(database_url: str, count: int, seconds: float = 60.0) -> dict[str, Any]:
    """The same once every turn is written."""
    deadline = time.monotonic() + seconds
    while True:
        found = await asyncio.to_thread(told, database_url)
        if found["events"] >= count or time.monotonic() > deadline:
            return found
        await asyncio.sleep(0.1)


async def measure(count: int) -> dict[str, Any]:
    url = postgres_url()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "state"
        processes = [ServiceProcess(data, database_url=url, replica=name) for name in ("left", "right")]
        try:
            for process in processes:
                process.start()
                await asyncio.to_thread(process.wait_ready)
            async with (
                httpx.AsyncClient(base_url=processes[0].url, timeout=60.0) as left,
                httpx.AsyncClient(base_url=processes[1].url, timeout=60.0) as right,
            ):
                answers = await race(left, right, count)
            accepted = sum(answer.status == 201 for answer in answers)
            found = await settled(url, accepted)
        finally:
            for process in processes:
                process.stop()
    taken = sorted(answer.milliseconds for answer in answers)
    return {
        "asked": count,
        "accepted": accepted,
        "answers": dict(Counter(answer.status for answer in answers)),
        "milliseconds": {"p50": taken[len(taken) // 2], "p99": taken[int(len(taken) * 0.99)], "max": taken[-1]},
        **found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="chats, each with one thumb")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/feedback_race.json"))
    options = parser.parse_args()
    report = asyncio.run(measure(options.count))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
