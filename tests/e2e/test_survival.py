"""One service and one learner through a hard life: an import, kill -9 of either half, and Ctrl-C at the end."""

import asyncio
import json
import os
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest
import pytest_asyncio
from tests.processes import child_of, descendants, is_alive

from thumbwheel import AsyncClient, ThumbwheelError
from thumbwheel.types import LearnerStatus
from thumbwheel_demo.run.background import live_scenarios
from thumbwheel_demo.run.desk import Desk, DeskPlan
from thumbwheel_demo.satisfaction import judge
from thumbwheel_learner.dataset.snapshots import load
from thumbwheel_service.db.engine import connect
from thumbwheel_service.db.key_store import SqlKeyStore

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900), pytest.mark.asyncio(loop_scope="module")]
SETTINGS = {
    "THUMBWHEEL_LEARN_EVERY": "0",
    "THUMBWHEEL_LEARN_AFTER_LABELS": "0",
    "THUMBWHEEL_REPORT_EVERY": "0.2",
    "THUMBWHEEL_MIN_LABELS": "20",
    "THUMBWHEEL_REWARD_MEMBERS": "1",
    "THUMBWHEEL_REWARD_EPOCHS": "2",
    "THUMBWHEEL_LORA_RANK": "4",
    "THUMBWHEEL_PPO_ITERATIONS": "4",
    "THUMBWHEEL_PPO_PROMPTS": "16",
    "THUMBWHEEL_PPO_SAMPLES": "2",
    "THUMBWHEEL_GATE_PROMPTS": "24",
}
PAIRS = 60
PAUSE_S = 0.5
"""Between two chats of one person: enough load to be in the middle of something, little enough to learn beside it."""


class Ledger:
    """What the service has acknowledged, by feedback id: the client's own books."""

    def __init__(self) -> None:
        self.revisions: dict[str, int] = {}
        self.refused = Counter[str]()


async def people(client: AsyncClient, ledger: Ledger, number: int, stop: asyncio.Event) -> None:
    """Chat, vote by manners, change one's mind on every fourth; a call that fails is simply not in the books."""
    name = f"user-{number}"
    for i, scenario in enumerate(live_scenarios(number)):
        if stop.is_set():
            return
        try:
            answer = await client.chat([dict(m) for m in scenario.messages], user=name, max_tokens=32, stream=False)
            verdict = judge(scenario, answer.text)
            liked = verdict.kind and verdict.polite
            for vote in ("down", "up") if liked and i % 4 == 0 else ("up" if liked else "down",):
                record = await client.feedback.thumb(answer.completion_id, vote, user=name)
                ledger.revisions[record.feedback_id] = record.revision
        except ThumbwheelError as error:
            ledger.refused[type(error).__name__] += 1
        await asyncio.sleep(PAUSE_S)


async def until(holds: Callable[[], bool], seconds: float, what: str, check: Callable[[], None]) -> None:
    """Wait for something that must happen."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not holds():
        assert loop.time() < deadline, f"not within {seconds:.0f} s: {what}"
        check()
        await asyncio.sleep(0.05)


async def learner_is(
    client: AsyncClient, fits: Callable[[LearnerStatus], bool], seconds: float, what: str
) -> LearnerStatus:
    """Wait for the learner to report something."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    last: LearnerStatus | None = None
    while loop.time() < deadline:
        try:
            last = (await client.status()).learner
        except ThumbwheelError:
            last = None
        if last is not None and fits(last):
            return last
        await asyncio.sleep(0.1)
    raise AssertionError(f"not within {seconds:.0f} s: {what}; last: {last}")


def stored(data: Path) -> dict[str, int]:
    """Feedback in the learner's own store, by id, with its revision."""
    with closing(sqlite3.connect(f"file:{data / 'learner.db'}?mode=ro", uri=True)) as database:
        rows = database.execute("SELECT feedback_id, revision FROM learner_feedback WHERE kind = 'thumb'").fetchall()
    assert len(rows) == len({feedback_id for feedback_id, _ in rows})
    return dict(rows)


def missing(ledger: Ledger, data: Path) -> list[str]:
    """Acknowledged votes that the learner has not, or only in an older revision."""
    found = stored(data)
    return [feedback_id for feedback_id, revision in ledger.revisions.items() if found.get(feedback_id, 0) < revision]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    async with Desk(DeskPlan(folder=tmp_path_factory.mktemp("desk"), environment=SETTINGS)) as opened:
        await opened.ready()
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(desk: Desk) -> AsyncIterator[AsyncClient]:
    async with desk.client() as opened:
        yield opened


async def test_imported_pairs_reach_the_learner(desk: Desk, client: AsyncClient, tmp_path: Path):
    lines = [
        json.dumps(
            {"prompt": f"Where is order {i}?", "chosen": f"Order {i} is on its way.", "rejected": f"No idea, {i}."}
        )
        for i in range(PAIRS)
    ]
    lines.insert(10, '{"prompt": "broken')
    file = tmp_path / "pairs.jsonl"
    file.write_text("\n".join(lines) + "\n")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "thumbwheel.cli", "import", str(file), "--url", desk.url,
        env={**desk.environment(), "THUMBWHEEL_API_KEY": (desk.plan.data / "admin.key").read_text().strip()},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    printed, _ = await process.communicate()
    assert "11" in printed.decode(), f"the malformed line is named: {printed.decode()}"
    learner = await learner_is(client, lambda s: s.labels_total >= PAIRS, 180, "the learner stores the imported pairs")
    assert learner.labels_total == PAIRS


async def test_kill_9_of_service_and_learner_loses_and_doubles_nothing(desk: Desk, client: AsyncClient):
    ledger, stop = Ledger(), asyncio.Event()
    crowd = [asyncio.create_task(people(client, ledger, i, stop)) for i in range(6)]
    try:
        # Enough that the newest of them, held out to check the reward model, are not all of one kind.
        await until(lambda: len(ledger.revisions) > 240, 240, "some hundred votes", desk.check)
        service = child_of(desk.pid, "thumbwheel_service")
        os.kill(service, signal.SIGKILL)
        before = len(ledger.revisions)
        await until(lambda: len(ledger.revisions) > before + 60, 300, "votes after the service's restart", desk.check)
        assert not is_alive(service)
        assert ledger.refused, "the kill came in the middle of chats"

        await client.learner.now()
        running = await learner_is(
            client, lambda s: s.stage == "ppo" and (s.progress or 0) > 0.2, 240, "the learner is in the middle of PPO"
        )
        learner = child_of(desk.pid, "thumbwheel_learner")
        os.kill(learner, signal.SIGKILL)
        ended = await learner_is(
            client, lambda s: s.last_run.get("run_id") == running.run_id, 400, "the killed run comes to an end"
        )
        assert not is_alive(learner)
        assert ended.last_run["outcome"] in ("published", "rejected", "abandoned")
        assert "ppo" in ended.last_run["stages"]
    finally:
        stop.set()
        await asyncio.gather(*crowd)
    await until(lambda: not missing(ledger, desk.plan.data), 60, "every acknowledged vote is in the store", desk.check)


async def test_the_next_run_learns_from_all_of_it_once(desk: Desk, client: AsyncClient):
    before = (await client.status()).learner
    assert before is not None
    await client.learner.now(["reward"])
    known = before.last_run["run_id"]
    ended = await learner_is(
        client, lambda s: s.state == "idle" and s.last_run.get("run_id") != known, 300, "one more run"
    )
    keys = SqlKeyStore(connect(f"sqlite:///{desk.plan.data / 'keys.db'}"))
    frozen = load(desk.plan.data, ended.last_run["snapshot"], keys)
    keys.close()
    snapshot = frozen.snapshot
    assert sum(pair.origin == "comparison" for pair in snapshot.pairs) == PAIRS
    ids = [example.event_id for example in (*snapshot.pairs, *snapshot.judged)]
    assert len(ids) == len(set(ids))
    assert len([j for j in snapshot.judged if j.kind == "thumb"]) <= len(stored(desk.plan.data))


async def test_ctrl_c_stops_both_halves_and_says_so_with_status_0(desk: Desk, client: AsyncClient):
    ledger, stop = Ledger(), asyncio.Event()
    crowd = [asyncio.create_task(people(client, ledger, i, stop)) for i in (8, 9)]
    await until(lambda: len(ledger.revisions) > 4, 60, "chats are going on", desk.check)
    below = descendants(desk.pid)
    assert len(below) >= 2
    os.kill(desk.pid, signal.SIGINT)
    status = await asyncio.wait_for(desk.ended(), 60)
    stop.set()
    await asyncio.gather(*crowd)
    assert status == 0, desk.tail()
    assert [pid for pid in below if is_alive(pid)] == []
