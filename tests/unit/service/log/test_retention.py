"""The log is looked at and pruned by what the learner has said, and by nothing else."""

import asyncio

import pytest
from sqlalchemy import update
from tests.unit.service.log.conftest import Log, partition
from tests.waiting import eventually

from thumbwheel.bus import TopicPartition
from thumbwheel.events import CONTROL, TURNS
from thumbwheel.types import LogStatus
from thumbwheel_service.db.tables import LogRow
from thumbwheel_service.errors import Unavailable
from thumbwheel_service.log import retention as retention_module
from thumbwheel_service.log.evidence import FromLog, Known, Offsets
from thumbwheel_service.log.retention import Retention

AT = TopicPartition(CONTROL.name, 0)


class Learner:
    """What it has said."""

    def __init__(self, told: Offsets | None = None) -> None:
        self.told = told

    def __call__(self) -> Offsets | None:
        return self.told


def retention(log: Log, learner: Learner, *, keep_days: float = 7.0) -> Retention:
    return Retention(log.writer, log.reader, FromLog(log.reader), learner, keep_days=keep_days, relayed=False)


async def age(log: Log, before: int) -> None:
    """The rows below were written long ago."""
    await log.write(lambda s: s.execute(update(LogRow).where(LogRow.offset < before).values(created_ms=1)))


async def test_old_rows_go_once_the_learner_has_said_that_it_stored_them(log: Log) -> None:
    await log.append(CONTROL.name, *"abcdef", key="learner")
    await age(log, 4)
    learner = Learner()
    mine = retention(log, learner)
    assert await mine.round() == 0
    assert mine.figures() == LogStatus(records=6, oldest_ms=1, behind=None, keep_days=7.0)
    learner.told = {AT: 3}
    assert await mine.round() == 3
    assert await mine.round() == 0
    learner.told = {AT: 6}
    assert await mine.round() == 1, "what is young stays"
    figures = mine.figures()
    assert figures is not None
    assert (figures.records, figures.behind) == (2, 0)


async def test_for_ever_is_for_ever_and_the_figures_come_all_the_same(log: Log) -> None:
    await log.append(CONTROL.name, *"abc", key="learner")
    await age(log, 3)
    mine = retention(log, Learner({AT: 1}), keep_days=0)
    assert await mine.round() == 0
    assert mine.figures() == LogStatus(records=3, oldest_ms=1, behind=2, keep_days=0)


async def test_a_partition_that_the_learner_never_named_is_left_alone(log: Log) -> None:
    await log.append(TURNS.name, "t0", "t1", "t2")
    await age(log, 9)
    assert await retention(log, Learner({})).round() == 0
    assert await retention(log, Learner({partition(TURNS.name, "t0"): 1})).round() == 1


async def test_many_rows_go_in_small_loads(log: Log) -> None:
    for start in range(0, 900, 300):
        await log.append(CONTROL.name, *[f"c{i}" for i in range(start, start + 300)], key="learner")
    await age(log, 900)
    commits: list[int] = []
    log.writer.on_commit(lambda notes: commits.append(1))
    told: list[tuple[int, int, int]] = []
    mine = retention(log, Learner({AT: 850}))
    mine.observe(lambda figures, firsts, gone: told.append((figures.records, firsts[AT], gone)))
    assert await mine.round() == 850
    assert len(commits) >= 5
    assert told == [(50, 850, 850)]


class Flaky:
    """Evidence that fails twice."""

    def __init__(self) -> None:
        self.asked = 0

    async def of(self, told: Offsets) -> Known:
        self.asked += 1
        if self.asked < 3:
            raise Unavailable("the bus is away")
        return Known({}, 0)


async def test_trouble_is_said_once_and_the_next_round_goes_on(
    log: Log, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(retention_module, "EVERY_SECONDS", 0.01)
    mine = Retention(log.writer, log.reader, Flaky(), Learner({}), keep_days=1, relayed=True)
    running = asyncio.create_task(mine.run())
    await eventually(mine.figures)
    running.cancel()
    await asyncio.wait([running])
    assert caplog.text.count("the bus is away") == 1
