"""A service for the commands, and an environment that says nothing."""

import os
from collections.abc import Iterator

import pytest
from tests.unit.sdk.desk import Desk, open_desk


@pytest.fixture(autouse=True)
def silent_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("THUMBWHEEL_"):
            monkeypatch.delenv(name)


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    with open_desk() as found:
        monkeypatch.setenv("THUMBWHEEL_URL", found.url)
        yield found
