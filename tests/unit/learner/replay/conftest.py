"""A store, a second one to rebuild into, on SQLite."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from thumbwheel_learner.store.session import connect, migrate


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = connect(f"sqlite:///{tmp_path / 'learner.db'}")
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def rebuilt(tmp_path: Path) -> Iterator[Engine]:
    engine = connect(f"sqlite:///{tmp_path / 'rebuilt.db'}")
    migrate(engine)
    yield engine
    engine.dispose()
