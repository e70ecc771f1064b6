"""What a run is asked to do, and the parts it is made of with their settings."""

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.faults.clock import Clock
from tests.faults.parts import BrokerPart, Part, PostgresPart, ProcessPart

from thumbwheel.demo_policy import default_model
from thumbwheel_demo.run.desk import clean_environment

Road = Literal["sqlite", "kafka"]


@dataclass(frozen=True, kw_only=True)
class Run:
    """What to do, and where its state lies; started again with the same folder it goes on."""

    folder: Path
    road: Road
    seed: int
    kills: int
    engine: Literal["fake", "vllm"] = "fake"
    people: int = 8
    clock: bool = False
    """Whether the clock of service and learner jumps; needs libfaketime."""
    say: Callable[[str], None] = lambda _: None


class Stack:
    """The parts of a road, and how to reach them."""

    def __init__(self, run: Run) -> None:
        data = run.folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        self.below: list[Part] = []
        self.clock = Clock(run.folder / "clock", run.seed) if run.clock else None
        port = _port(run.folder / "port")
        settings = {
            **clean_environment(os.environ),
            "THUMBWHEEL_DATA": str(data),
            "THUMBWHEEL_PORT": str(port),
            "THUMBWHEEL_URL": f"http://127.0.0.1:{port}",
            "THUMBWHEEL_REPLICA": "faults",
            "THUMBWHEEL_MODEL": default_model() or "",
            "THUMBWHEEL_LEARN_EVERY": "0",
            "THUMBWHEEL_LEARN_AFTER_LABELS": "0",
            "FAULTS_ENGINE": run.engine,
            **(self.clock.environment if self.clock else {}),
        }
        self.store_url = f"sqlite:///{data / 'learner.db'}"
        self.keys_url = f"sqlite:///{data / 'keys.db'}"
        if run.road == "kafka":
            broker, database = BrokerPart(run.folder / "kafka"), PostgresPart(run.folder / "postgres")
            self.below = [database, broker]
            self.store_url = self.keys_url = database.url
            settings["THUMBWHEEL_DATABASE_URL"] = settings["THUMBWHEEL_LEARNER_DATABASE_URL"] = database.url
            settings["THUMBWHEEL_KAFKA_BOOTSTRAP"] = broker.bootstrap
        self.url = f"http://127.0.0.1:{port}"
        self.data = data
        self.key_file = data / "admin.key"
        apart = run.folder / "publisher"
        apart.mkdir(exist_ok=True)
        self.published_url = f"sqlite:///{apart / 'learner.db'}"
        own = {
            "learner": {"THUMBWHEEL_ARTIFACTS": str(apart / "not-the-learners")},
            "publisher": {
                "THUMBWHEEL_DATA": str(apart),
                "THUMBWHEEL_LEARNER_DATABASE_URL": self.published_url,
                "THUMBWHEEL_ARTIFACTS": str(data / "artifacts"),
                "THUMBWHEEL_SIGNING_KEY": str(data / "signing.key"),
                "FAULTS_KEY_FILE": str(self.key_file),
            },
        }
        self.service, self.learner, self.publisher = (
            ProcessPart(
                name,
                f"tests.faults.{name}",
                settings | own.get(name, {}),
                run.folder / f"{name}.log",
                f"{self.url}/readyz" if name == "service" else None,
            )
            for name in ("service", "learner", "publisher")
        )

    def admin_key(self) -> str:
        """Made by the first start of the service."""
        return self.key_file.read_text(encoding="utf-8").strip()

    @property
    def parts(self) -> list[Part]:
        """In the order of their start."""
        return [*self.below, self.service, self.learner, self.publisher]


def _port(file: Path) -> int:
    """The same port in every life of the service."""
    if not file.exists():
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            file.write_text(str(probe.getsockname()[1]))
    return int(file.read_text())
