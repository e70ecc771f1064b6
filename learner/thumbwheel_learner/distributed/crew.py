"""The first process leads: it is the learner. The others wait for the jobs it trains by, and do the same beside it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from thumbwheel_learner.distributed.world import ALONE, GroupBroken, World
from thumbwheel_learner.errors import LearnerError
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.progress import Progress, silent
from thumbwheel_learner.rollouts.engine import Rollout, RolloutEngine

R = TypeVar("R")


class Tools(NamedTuple):
    """What a job works with, in every process."""

    model: PolicyModel
    rollouts: RolloutEngine
    progress: Progress


Job = Callable[[Tools], R]
"""A function of a module, its other arguments put in by `functools.partial`, so that all of it can be pickled. It does
the same in every process, but for what the first alone can do (`World.from_first`)."""


class SharedRollouts:
    """A `RolloutEngine` that samples in the first process and tells the others."""

    def __init__(self, world: World, engine: RolloutEngine | None) -> None:
        """Without an engine, as in every process but the first, it hears of the answers."""
        self._world = world
        self._engine = engine

    def sample(
        self,
        adapter: Path | None,
        prompts: Sequence[Sequence[int]],
        *,
        n: int,
        max_tokens: int,
        temperature: float,
        seed: int,
    ) -> list[list[Rollout]]:
        """See `RolloutEngine`."""

        def sampled() -> list[list[Rollout]]:
            if self._engine is None:
                raise LearnerError("this job was given no engine to sample from")
            return self._engine.sample(adapter, prompts, n=n, max_tokens=max_tokens, temperature=temperature, seed=seed)

        return self._world.from_first(sampled)


def shared_progress(world: World, progress: Progress) -> Progress:
    """A `Progress` of all processes: what it raises in the first ends the job in the others, too, at the same step."""
    return lambda stage, share, detail: world.from_first(lambda: progress(stage, share, detail))


class Crew:
    """The first process's side: whatever it trains, all train."""

    def __init__(self, world: World = ALONE, *, lost: Callable[[], None] = lambda: None) -> None:
        """`lost` is called when the processes can no longer work together, and this one had better end."""
        self.world = world
        self._lost = lost
        self._broken = False

    def load(self, load: Callable[[], PolicyModel]) -> PolicyModel:
        """The model, while the others load theirs."""
        self._tell(_only_load)
        return self._stay_in_step(load)

    def do(self, job: Job[R], model: PolicyModel, engine: RolloutEngine | None, progress: Progress) -> R:
        """A job in every process; returns and raises what it does here.

        Raises `GroupBroken` when the others may have fared otherwise: they must all be started again.
        """
        self._tell(job)
        tools = Tools(model, SharedRollouts(self.world, engine), shared_progress(self.world, progress))
        return self._stay_in_step(lambda: job(tools))

    def dismiss(self) -> None:
        """Let the others end."""
        if not self._broken:
            self._tell(None)

    def _tell(self, job: Job[object] | None) -> None:
        try:
            self.world.from_first(lambda: job)
        except GroupBroken:
            self._give_up()
            raise

    def _stay_in_step(self, work: Callable[[], R]) -> R:
        """Every process raises what the trainers raise on purpose, and what the first told of; not what befell one."""
        try:
            return work()
        except GroupBroken:
            self._give_up()
            raise
        except Exception as error:
            if self.world.size == 1 or isinstance(error, LearnerError) or error is self.world.told:
                raise
            self._give_up()
            raise GroupBroken(f"this process alone failed: {type(error).__name__}: {error}") from error

    def _give_up(self) -> None:
        self._broken = True
        self._lost()


def follow(world: World, load: Callable[[], PolicyModel], *, told: Callable[[str], None]) -> None:
    """The other processes' side: do what the first one does, until it lets them go. `told` hears why a job ended early.

    Raises `GroupBroken`.
    """
    model: PolicyModel | None = None
    while (job := world.from_first(_nothing)) is not None:
        try:
            model = model or load()
            job(Tools(model, SharedRollouts(world, None), shared_progress(world, silent)))
        except GroupBroken:
            raise
        except LearnerError as error:
            told(str(error))
        except Exception as error:
            raise GroupBroken(f"process {world.rank} alone failed: {type(error).__name__}: {error}") from error


def _nothing() -> Job[object] | None:
    """What only the first process could say."""


def _only_load(_: Tools) -> None:
    """Loading is done before any job."""
