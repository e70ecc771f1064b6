"""A run: people who never stop, parts that die again and again, and the books compared at the end."""

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.faults.ledger import Ledger
from tests.faults.parts import Part
from tests.faults.people import Person
from tests.faults.plan import Kill, plan
from tests.faults.stack import Run, Stack
from tests.faults.verdict import Verdict, behind, judge
from tests.faults.versions import Versions, follow, is_settled
from tests.waiting import eventually

from thumbwheel import AsyncClient
from thumbwheel_learner.store.session import connect
from thumbwheel_service.db.engine import connect as service_database
from thumbwheel_service.db.key_store import SqlKeyStore

DRAIN_S, FOLLOW_S = 180.0, 60.0
SOME_VERSIONS = 3


class Deaths:
    """The kills made so far, on disk."""

    def __init__(self, file: Path) -> None:
        self._file = file
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        self.made: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def add(self, kill: Kill, how: str, acknowledged: int) -> None:
        entry = {**kill._asdict(), "how": how, "acknowledged": acknowledged}
        self.made.append(entry)
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


async def drive(run: Run) -> tuple[Verdict, Versions, dict[str, Any]]:
    """Everything; returns the verdicts and the figures."""
    run.folder.mkdir(parents=True, exist_ok=True)
    ledger, deaths = Ledger(run.folder / "ledger.jsonl"), Deaths(run.folder / "kills.jsonl")
    stack = Stack(run)
    began = time.monotonic()
    try:
        for part in stack.parts:
            await part.start(None)
        await _suffer(run, stack, ledger, deaths)
        for part in stack.parts:
            if part.is_dead():
                await part.start(None)
        await _drained(run, stack, ledger)
        verdict, versions = await _verdict(run, stack, ledger), await _versions(stack)
    finally:
        ledger.close()
        for part in reversed(stack.parts):
            await part.stop()
    figures = _figures(run, ledger, deaths, verdict, time.monotonic() - began)
    figures |= {
        "versions": versions._asdict(),
        "clock_jumps": stack.clock.jumps if stack.clock else 0,
        "restarts": {part.name: part.restarts for part in (stack.service, stack.learner, stack.publisher)},
    }
    return verdict, versions, figures


async def _suffer(run: Run, stack: Stack, ledger: Ledger, deaths: Deaths) -> None:
    names = [part.name for part in stack.parts]
    made = {entry["number"] for entry in deaths.made}
    left = [k for k in plan(run.seed, run.kills, names, has_relay=run.road == "kafka") if k.number not in made]
    stop = asyncio.Event()
    async with AsyncClient(stack.url, api_key=stack.admin_key(), max_retries=0, timeout=15.0) as client:
        crowd = [asyncio.create_task(Person(client, ledger, i, run.seed).live(stop)) for i in range(run.people)]
        jumping = asyncio.create_task(stack.clock.jump_about()) if stack.clock else None

        async def hard_life(part: Part) -> None:
            for kill in [k for k in left if k.part == part.name]:
                how = await _die(part, kill)
                deaths.add(kill, how, ledger.acknowledged)
                run.say(f"{len(deaths.made)}/{run.kills}: {part.name} {how}; {ledger.acknowledged} acknowledged")
            await part.start(None)

        try:
            await eventually(lambda: ledger.acknowledged >= run.people, 60)
            async with asyncio.TaskGroup() as lives:
                for part in stack.parts:
                    lives.create_task(hard_life(part))
        finally:
            stop.set()
            if jumping is not None:
                jumping.cancel()
            done, _ = await asyncio.wait(crowd, timeout=60)
            for task in set(crowd) - done:
                task.cancel()
    for task in done:
        task.result()


async def _die(part: Part, kill: Kill) -> str:
    """Restart a process to arm it; what has none is killed as it runs."""
    if kill.failpoint is not None and not part.is_dead():
        part.kill()
    if part.is_dead():
        await part.start(kill.failpoint)
    with contextlib.suppress(AssertionError):
        await eventually(part.is_dead, kill.after_s)
    if part.is_dead():
        return f"died at {kill.failpoint}"
    part.kill()
    return f"killed after {kill.after_s:.1f} s" if kill.failpoint is None else f"killed: {kill.failpoint} not reached"


async def _drained(run: Run, stack: Stack, ledger: Ledger) -> None:
    engine = connect(stack.store_url)
    try:
        deadline = time.monotonic() + DRAIN_S
        while late := await asyncio.to_thread(behind, ledger, engine):
            if time.monotonic() > deadline:
                run.say(f"{len(late)} of {len(ledger.entries)} have not arrived after {DRAIN_S:.0f} s")
                return
            await asyncio.sleep(0.5)
    finally:
        engine.dispose()


async def _verdict(run: Run, stack: Stack, ledger: Ledger) -> Verdict:
    engine, keys = connect(stack.store_url), SqlKeyStore(service_database(stack.keys_url))
    try:
        return await asyncio.to_thread(judge, ledger, engine, run.folder / "data", keys)
    finally:
        keys.close()
        engine.dispose()


async def _versions(stack: Stack) -> Versions:
    """However fast the kills were made, some versions follow them, and what they interrupted is recovered."""
    with contextlib.suppress(AssertionError):
        await eventually(lambda: is_settled(stack.published_url, SOME_VERSIONS), FOLLOW_S)
    await stack.publisher.stop()
    async with AsyncClient(stack.url, api_key=stack.admin_key()) as client:
        return await follow(client, stack.published_url, stack.data, FOLLOW_S)


def _figures(run: Run, ledger: Ledger, deaths: Deaths, verdict: Verdict, seconds: float) -> dict[str, Any]:
    return {
        "road": run.road,
        "engine": run.engine,
        "seed": run.seed,
        "kills": len(deaths.made),
        "kills_by": dict(Counter(f"{d['part']} {(d['failpoint'] or 'random').partition(':')[0]}" for d in deaths.made)),
        "not_reached": sum("not reached" in d["how"] for d in deaths.made),
        "chats": ledger.chats,
        "acknowledged": ledger.acknowledged,
        "feedback": len(ledger.entries),
        "retries": ledger.retries,
        "refused": ledger.refused[:20],
        "differing": ledger.differing[:20],
        "seconds": round(seconds, 1),
        "verdict": verdict.figures(),
        "examples": {name: value[:5] for name, value in verdict._asdict().items() if isinstance(value, Sequence)},
    }
