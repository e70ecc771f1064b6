"""One Kafka for the contracts of the bus and of the service."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.brokers import Broker, find_broker


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One broker for the session; says which."""
    with contextlib.closing(find_broker(Path(tmp_path_factory.mktemp("kafka")))) as found:
        capture = request.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            print(f"\nKafka contract tests use {found.name}")
        yield found
