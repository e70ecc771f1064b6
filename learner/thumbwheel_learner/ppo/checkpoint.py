"""What a killed PPO run goes on from: the run as its last minibatch left it, and the answers it was learning from."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch are partial; what leaves this file is typed)

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from thumbwheel_learner.distributed.world import ALONE, World
from thumbwheel_learner.ppo.state import Experience, PpoRun

STATE, EXPERIENCE = "checkpoint.pt", "experience.pt"


class Gathered(NamedTuple):
    """What an iteration has before its first step."""

    experience: Experience
    metrics: dict[str, float]


@dataclass(frozen=True)
class Checkpoint:
    """Two files in a run's folder: its state, written after every minibatch, and an iteration's answers, written once.

    The answers are kept because the engine that sampled them need not say the same again, bit by bit, beside other
    chats.
    """

    folder: Path
    fingerprint: str
    """What another run would have to agree on to go on from here."""
    world: World = ALONE
    """Its first process alone has the files."""

    def save(self, run: PpoRun) -> None:
        """Replace the state on disk by the run's."""
        self._write(STATE, run.state())

    def restore(self, run: PpoRun) -> bool:
        """Continue from a checkpoint of the same run; False when there is none, or not all of it."""
        state = self._read(STATE)
        if state is None:
            return False
        if state["updates"]["minibatches"] and self._experience_of(state["iteration"]) is None:
            return False
        run.load_state(state)
        return True

    def save_experience(self, run: PpoRun, gathered: Gathered) -> None:
        """Keep what the run's iteration learns from."""
        self._write(
            EXPERIENCE,
            {
                "iteration": run.iteration,
                "reward": [run.reward_mean, run.reward_std],
                "experience": vars(gathered.experience),
                "metrics": gathered.metrics,
            },
        )

    def load_experience(self, run: PpoRun) -> Gathered | None:
        """What was kept for the run's iteration, its scores' scale put into the run; None when nothing was."""
        saved = self._experience_of(run.iteration)
        if saved is None:
            return None
        run.reward_mean, run.reward_std = saved["reward"]
        return Gathered(Experience(**saved["experience"]), saved["metrics"])

    def _experience_of(self, iteration: int) -> dict[str, Any] | None:
        saved = self._read(EXPERIENCE)
        return saved if saved is not None and saved["iteration"] == iteration else None

    def _read(self, name: str) -> dict[str, Any] | None:
        file = self.folder / name

        def read() -> dict[str, Any] | None:
            if not file.is_file():
                return None
            saved: dict[str, Any] = torch.load(file, weights_only=True)
            return saved["content"] if saved["fingerprint"] == self.fingerprint else None

        return self.world.from_first(read)

    def _write(self, name: str, content: dict[str, Any]) -> None:
        self.world.from_first(lambda: self._replace(name, content))

    def _replace(self, name: str, content: dict[str, Any]) -> None:
        file = self.folder / name
        temporary = file.with_suffix(".tmp")
        with temporary.open("wb") as out:
            torch.save({"fingerprint": self.fingerprint, "content": content}, out)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(file)
