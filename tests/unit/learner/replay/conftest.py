"""Beside the store a second one, to rebuild into."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from tests.databases import learner_store


@pytest.fixture
def rebuilt(tmp_path: Path) -> Iterator[Engine]:
    with learner_store(tmp_path / "rebuilt.db") as engine:
        yield engine
