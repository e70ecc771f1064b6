"""Stages of a training run without any training: what the run's own tests see through."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Engine
from tests.learner_events import feedback, turn
from tests.learner_fakes import MemoryBus, fake_adapter

from thumbwheel.events import wrap
from thumbwheel_learner.consume import Consumer
from thumbwheel_learner.dataset.keys import NoKeys
from thumbwheel_learner.runs.run import Runner, RunPlan
from thumbwheel_learner.runs.stage import Parent, Stage, StageInput, StageOutcome


def fill(engine: Engine, labels: int = 6) -> None:
    """Store some turns with thumbs."""
    bus = MemoryBus()
    for n in range(labels):
        bus.publish(wrap(turn(n), event_id=f"t{n}"))
        bus.publish(wrap(feedback(n), event_id=f"f{n}"))
    consumer = Consumer(engine, bus)
    while consumer.step(0.0):
        pass


class Script:
    """Stages that write a line to `journal` whenever they really do something."""

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        self.before: Callable[[str], None] = lambda stage: None
        self.halts: dict[str, StageOutcome] = {}

    def stages(self) -> dict[str, Stage]:
        """All five, by name."""
        return {name: self._stage(name) for name in ("reward", "sft", "ppo", "gate", "publish")}

    def lines(self) -> list[str]:
        """What was done so far, in order."""
        return self.journal.read_text().split() if self.journal.exists() else []

    def _stage(self, name: str) -> Stage:
        def do(given: StageInput) -> StageOutcome:
            self.before(name)
            steps = 3 if name == "ppo" else 1
            for step in range(steps):
                mark = given.folder / f"step{step}"
                if not mark.exists():
                    note(self.journal, f"{name}{step}" if steps > 1 else name)
                    mark.touch()
                given.progress(name, (step + 1) / steps, "")
                self.before(f"{name}{step}")
            if name in self.halts:
                return self.halts[name]
            if name in ("sft", "ppo"):
                fake_adapter(given.folder / "adapter", name.encode())
                return StageOutcome(result={"adapter": f"{name}/adapter"})
            if name == "publish":
                trained = given.trained_adapter()
                assert trained is not None
                weights = (trained / "adapter_model.safetensors").read_bytes().decode()
                return StageOutcome(result={"version": f"v1-{weights}"}, state="published")
            return StageOutcome(result={"said": name})

        return do


def note(journal: Path, line: str) -> None:
    """Append a line that survives a kill."""
    with journal.open("a") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


def runner(engine: Engine, data: Path, script: Script, **changes: object) -> Runner:
    """A runner over these stages; `live` and fields of the plan can be given."""
    live = changes.pop("live", lambda: Parent("base", None))
    progress = changes.pop("progress", lambda stage, share, detail: None)
    plan = RunPlan(**{"data": data, "base": "f" * 64, "min_labels": 5, "max_prompts": 100, "keys": NoKeys(), **changes})
    return Runner(engine, plan, script.stages(), live=live, progress=progress)


def sleepy(folder: Path, at: str) -> Callable[[str], None]:
    """Say that `at` has been reached, and wait there to be killed."""

    def before(stage: str) -> None:
        if stage == at and not (folder / "killed").exists():
            (folder / "killed").touch()
            print("reached", flush=True)
            time.sleep(60)

    return before
