"""The same tests on stores in SQLite and in PostgreSQL: one to learn into, and one to rebuild into."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import Engine
from tests.databases import learner_store, postgres_url

from thumbwheel_learner.store.session import writing
from thumbwheel_learner.store.tables import LearnerTable


class Stores(NamedTuple):
    store: Engine
    rebuilt: Engine

    def empty(self) -> None:
        """As they were made; faster than making them anew."""
        for engine in self:
            with writing(engine) as session:
                for table in LearnerTable.metadata.tables.values():
                    session.connection().execute(table.delete())


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def stores(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    def database(name: str) -> Path | str:
        return postgres_url() if request.param == "postgres" else tmp_path_factory.mktemp(name) / "learner.db"

    with learner_store(database("store")) as store, learner_store(database("rebuilt")) as rebuilt:
        yield Stores(store, rebuilt)
