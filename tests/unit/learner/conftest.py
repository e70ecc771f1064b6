"""Shared fixtures of the learner's unit tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from thumbwheel_learner.store.session import connect, migrate


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A migrated store of its own."""
    engine = connect(f"sqlite:///{tmp_path / 'learner.db'}")
    migrate(engine)
    yield engine
    engine.dispose()
