import socket
import sqlite3
from pathlib import Path

import pytest

from thumbwheel.doctor import reach
from thumbwheel.doctor.configuration import Configuration, from_environment


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_a_local_model_without_configuration_fails_before_anything_heavy(tmp_path: Path) -> None:
    finding = reach.check_model(str(tmp_path))
    assert finding.state == "fail"
    assert "config.json" in finding.found


@pytest.mark.parametrize(
    ("model", "local"), [("/models/a", True), ("./a", True), ("~/a", True), ("org/name", False), ("a/b/c", True)]
)
def test_paths_and_hub_ids_are_told_apart(model: str, local: bool) -> None:
    assert reach.looks_local(model) is local


def test_a_sqlite_database_that_is_not_there_yet_is_well(tmp_path: Path) -> None:
    assert reach.check_database("service", f"sqlite:///{tmp_path / 'x.db'}").state == "ok"
    assert not (tmp_path / "x.db").exists()


def test_a_sqlite_database_opens_and_a_broken_one_fails(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.db", tmp_path / "bad.db"
    connection = sqlite3.connect(good)
    connection.execute("CREATE TABLE one (two)")
    connection.close()
    bad.write_bytes(b"not a database" * 100)
    assert reach.check_database("service", f"sqlite:///{good}").state == "ok"
    assert reach.check_database("service", f"sqlite:///{bad}").state == "fail"


def test_an_unreachable_postgresql_fails_without_telling_the_password(closed_port: int) -> None:
    finding = reach.check_database("learner", f"postgresql://me:hunter2@127.0.0.1:{closed_port}/x")
    assert finding.check == "learner database"
    assert finding.state == "fail"
    assert "hunter2" not in finding.found + finding.mend


def test_another_database_is_refused() -> None:
    assert reach.check_database("service", "mysql://somewhere").state == "fail"


def test_an_unreachable_broker_fails(closed_port: int) -> None:
    assert reach.check_kafka(f"127.0.0.1:{closed_port}", {}).state == "fail"


def test_an_unknown_kafka_setting_fails(closed_port: int) -> None:
    finding = reach.check_kafka(f"127.0.0.1:{closed_port}", {"no_such_setting": "1"})
    assert finding.state == "fail"
    assert "no_such_setting" in finding.found


def test_an_unreachable_service_fails(closed_port: int) -> None:
    assert reach.check_service(f"http://127.0.0.1:{closed_port}").state == "fail"


def test_the_configuration_is_the_service_s_environment() -> None:
    read = from_environment(
        {
            "THUMBWHEEL_DATA": "/var/lib/x",
            "THUMBWHEEL_PORT": "9000",
            "THUMBWHEEL_LEARNER_DATABASE_URL": "sqlite:////l.db",
            "THUMBWHEEL_KAFKA_BOOTSTRAP": "k:9092",
            "THUMBWHEEL_KAFKA_SECURITY_PROTOCOL": "SSL",
            "HOME": "/root",
        }
    )
    assert (read.data, read.port, read.kafka) == (Path("/var/lib/x"), "9000", "k:9092")
    assert read.databases == {"learner": "sqlite:////l.db"}
    assert read.kafka_options == {"security_protocol": "SSL"}


def test_kafka_is_left_alone_when_the_embedded_bus_is_chosen() -> None:
    read = from_environment({"THUMBWHEEL_BUS": "embedded", "THUMBWHEEL_KAFKA_BOOTSTRAP": "k:9092"})
    assert read.kafka is None


def test_nothing_configured_looks_at_the_model_alone() -> None:
    assert [finding.check for finding in reach.check_reach(Configuration())] == ["model"]
