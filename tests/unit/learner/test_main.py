"""The process put together for real, but for the model's algorithms, the bus, and the service."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.learner_events import feedback, turn
from tests.learner_fakes import MemoryBus, fake_adapter
from tests.learner_stages import Script

from thumbwheel.events import LearnerCommand, LearnerReported, PolicyPublished, decode, now_ms, wrap
from thumbwheel.types import LearnerStatus
from thumbwheel_learner.main import Parts
from thumbwheel_learner.runs.publish import Provenance
from thumbwheel_learner.runs.settings import Training
from thumbwheel_learner.runs.stage import StageInput, StageOutcome
from thumbwheel_learner.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (model / "model.safetensors").write_bytes(b"weights")
    return Settings(
        model=str(model), data=tmp_path / "data", report_every_s=0.05, learn_every_s=0, learn_after_labels=0,
        training=Training(min_labels=5),
    )  # fmt: skip


class Learner:
    """A learner in a thread."""

    def __init__(self, settings: Settings, bus: MemoryBus, script: Script) -> None:
        self.stop = threading.Event()
        self.parts = Parts(settings, "key", self.stop, bus=bus)
        self.bus = bus
        self.script = script
        self.thread = threading.Thread(target=self.parts.learn, args=(self.stages,))

    def stages(self, parts: Parts) -> dict[str, object]:
        def publish(given: StageInput) -> StageOutcome:
            adapter = given.trained_adapter()
            assert adapter is not None
            origin = Provenance(given.parent.version, parts.fingerprint, {}, {}, {}, {})
            version = parts.publisher.publish(given.run_id, adapter, origin)
            return StageOutcome(result={"version": version}, state="published")

        return {**self.script.stages(), "publish": publish}

    def status(self) -> LearnerStatus | None:
        events = [decode(record.value).event for record in self.bus.events("thumbwheel.learner")]
        return events[-1].status if events and isinstance(events[-1], LearnerReported) else None

    def until(self, holds: Callable[[LearnerStatus], bool]) -> LearnerStatus:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            status = self.status()
            if status is not None and holds(status):
                return status
            assert self.thread.is_alive()
            time.sleep(0.02)
        raise AssertionError(f"last status {self.status()}")

    def end(self) -> None:
        self.stop.set()
        self.thread.join()
        self.parts.__exit__()


@pytest.fixture
def learners(settings: Settings, tmp_path: Path) -> Iterator[Callable[[MemoryBus, Script], Learner]]:
    made: list[Learner] = []

    def make(bus: MemoryBus, script: Script) -> Learner:
        made.append(Learner(settings, bus, script))
        made[-1].thread.start()
        return made[-1]

    yield make
    for learner in made:
        learner.end()


def say(bus: MemoryBus, word: str) -> None:
    bus.publish(wrap(LearnerCommand(command=word, created_ms=now_ms())))


def labels(bus: MemoryBus, count: int = 6, first: int = 0) -> None:
    for n in range(first, first + count):
        bus.publish(wrap(turn(n)))
        bus.publish(wrap(feedback(n)))


def published(bus: MemoryBus) -> list[str]:
    events = [decode(record.value).event for record in bus.events("thumbwheel.policies")]
    return [event.version for event in events if isinstance(event, PolicyPublished)]


def test_a_demand_on_the_bus_becomes_a_published_version_and_is_reported(
    learners: Callable[[MemoryBus, Script], Learner], tmp_path: Path
) -> None:
    bus = MemoryBus()
    labels(bus)
    learner = learners(bus, Script(tmp_path / "journal"))
    assert learner.until(lambda status: status.labels_total == 6).state == "idle"
    say(bus, "now")
    status = learner.until(lambda status: status.last_run.get("outcome") == "published")
    assert published(bus) == [status.last_run["version"]]
    assert status.labels_new == 0
    assert (tmp_path / "data" / "artifacts" / status.last_run["version"] / "manifest.json").is_file()


def test_consuming_goes_on_while_training(learners: Callable[[MemoryBus, Script], Learner], tmp_path: Path) -> None:
    bus, script, go_on = MemoryBus(), Script(tmp_path / "journal"), threading.Event()
    script.before = lambda stage: go_on.wait(30) and None if stage == "sft" else None
    labels(bus)
    say(bus, "now")
    learner = learners(bus, script)
    learner.until(lambda status: status.state == "training" and status.stage in ("reward", "sft"))
    labels(bus, 3, first=6)
    learner.until(lambda status: status.labels_total == 9 and status.state == "training")
    go_on.set()
    learner.until(lambda status: status.last_run.get("outcome") == "published" and status.labels_new == 3)


def test_a_stopped_learner_ends_between_steps_and_the_next_one_finishes_the_run(
    learners: Callable[[MemoryBus, Script], Learner], tmp_path: Path
) -> None:
    bus, script = MemoryBus(), Script(tmp_path / "journal")
    labels(bus)
    say(bus, "now")
    first = learners(bus, script)
    script.before = lambda stage: first.stop.set() if stage == "ppo0" else None
    first.thread.join(30)
    assert not first.thread.is_alive()
    status = first.status()
    assert status is not None
    assert status.state == "stopped"
    assert published(bus) == []
    script.before = lambda stage: None
    learners(bus, script).until(lambda status: status.last_run.get("outcome") == "published")
    assert script.lines() == ["reward", "sft", "ppo0", "ppo1", "ppo2", "gate"]


def test_an_artifact_whose_announcement_a_crash_swallowed_is_announced_at_the_start(
    learners: Callable[[MemoryBus, Script], Learner], settings: Settings, tmp_path: Path
) -> None:
    bus = MemoryBus()
    parts = Parts(settings, "key", threading.Event(), bus=bus)
    bus.down = True
    origin = Provenance("base", parts.fingerprint, {}, {}, {}, {})
    with pytest.raises(Exception, match="down"):
        parts.publisher.publish("run-1", fake_adapter(tmp_path / "adapter"), origin)
    parts.__exit__()
    bus.down = False
    learners(bus, Script(tmp_path / "journal")).until(lambda status: status.state == "idle")
    assert len(published(bus)) == 1


def learner_process(tmp_path: Path, **environment: str) -> subprocess.Popen[str]:
    given = {f"THUMBWHEEL_{name}": value for name, value in environment.items()}
    paths = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "THUMBWHEEL_DATA": str(tmp_path / "data"), **given}
    return subprocess.Popen(
        [sys.executable, "-m", "thumbwheel_learner"],
        env=paths,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_before_the_service_has_ever_started_the_process_waits_and_can_be_stopped(
    settings: Settings, tmp_path: Path
) -> None:
    process = learner_process(tmp_path, MODEL=settings.model)
    assert process.stderr is not None
    with process:
        assert "waiting for the service's first start" in process.stderr.readline()
        second = learner_process(tmp_path, MODEL=settings.model)
        _, errors = second.communicate(timeout=60)
        assert second.returncode == 2
        assert f"another learner (process {process.pid})" in errors
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


def test_a_wrong_setting_ends_the_process_with_a_message(tmp_path: Path) -> None:
    process = learner_process(tmp_path, MODEL=str(tmp_path / "nowhere" / "at all"), API_KEY="k")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "there is no such folder" in errors
    assert "Traceback" not in errors
