"""The short form of the fault suite; `python -m tests.faults` is the long one."""

import shutil
from pathlib import Path

import pytest
from tests.brokers import SERVER
from tests.faults.clock import library
from tests.faults.drive import drive
from tests.faults.stack import Run

pytestmark = pytest.mark.timeout(400)


async def test_kills_of_service_and_learner_lose_and_double_nothing(tmp_path: Path) -> None:
    run = Run(folder=tmp_path, road="sqlite", seed=1, kills=6, clock=library() is not None)
    verdict, versions, figures = await drive(run)
    assert verdict.is_clean(), verdict
    assert versions.is_clean(), versions
    assert versions.announced > 2
    assert (figures["kills"], figures["refused"], figures["differing"], verdict.unasked) == (6, [], [], [])
    assert verdict.in_snapshot > 20


@pytest.mark.kafka
@pytest.mark.postgres
@pytest.mark.skipif(
    not SERVER.exists() or shutil.which("java") is None, reason="kills need a broker that is a process of its own"
)
async def test_kills_of_broker_and_database_lose_and_double_nothing(tmp_path: Path) -> None:
    verdict, versions, figures = await drive(Run(folder=tmp_path, road="kafka", seed=1, kills=8))
    assert verdict.is_clean(), verdict
    assert versions.is_clean(), versions
    assert versions.announced > 2
    assert (figures["kills"], figures["refused"], figures["differing"], verdict.unasked) == (8, [], [], [])
    assert verdict.in_snapshot > 20
