"""Shared fixtures of the learner's unit tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from tests.databases import learner_store


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A migrated store of its own."""
    with learner_store(tmp_path / "learner.db") as engine:
        yield engine
