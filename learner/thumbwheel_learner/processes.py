"""The learner as one process, or as those that torchrun starts: the first learns, the others train beside it."""

import gc
import logging
import os
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from thumbwheel.template import PLAIN_CHAT_TEMPLATE, has_chat_template
from thumbwheel_learner.model.base import resolve_base
from thumbwheel_learner.runs.run import RunInterrupted
from thumbwheel_learner.settings import Settings

if TYPE_CHECKING:
    from thumbwheel_learner.distributed.crew import Crew
    from thumbwheel_learner.distributed.world import World
    from thumbwheel_learner.model.policy import PolicyModel

log = logging.getLogger(__name__)


def be_polite() -> None:
    """Leave the machine to the service: a lower priority, and threads that sleep rather than spin while they wait.

    Spinning threads on busy cores made a training step ten times slower than one thread alone. To be called before
    torch is imported, which is when its thread pool reads this.
    """
    os.nice(5)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def started_by_torchrun(environment: Mapping[str, str]) -> bool:
    """Whether this is one of several processes, as torchrun tells each of them."""
    return "RANK" in environment and int(environment.get("WORLD_SIZE", "1")) > 1


def lead_or_follow(settings: Settings, stop: threading.Event, lead: Callable[["Crew | None"], int]) -> int:
    """Be the learner (`lead`, with the processes that train beside it), or one of those; returns the exit status.

    When one of them is lost, all end with an error, and `stop` is set in the first: torchrun starts them again.
    """
    if not started_by_torchrun(os.environ):
        return lead(None)
    be_polite()
    from thumbwheel_learner.distributed.crew import Crew, follow
    from thumbwheel_learner.distributed.world import GroupBroken, joined

    lost = threading.Event()

    def give_up() -> None:
        lost.set()
        stop.set()

    with joined() as world:
        if world.rank > 0:
            log.info("training beside the first of %d processes, as number %d", world.size, world.rank + 1)
            follow(world, lambda: load_base(settings, world), told=lambda why: log.info("the job ended early: %s", why))
            return 0
        crew = Crew(world, lost=give_up)
        try:
            status = lead(crew)
        finally:
            try:
                crew.dismiss()
            except GroupBroken as error:
                log.warning("%s", error)
        if lost.is_set():
            log.error("a process that trained beside this one was lost; a run that was open goes on at the next start")
            return 1
        return status


def loaded_once(settings: Settings, crew: "Crew") -> Callable[[], "PolicyModel"]:
    """The base model, loaded when it is first needed, in every process of the crew, and kept."""
    kept: list[PolicyModel] = []

    def model() -> "PolicyModel":
        from thumbwheel_learner.distributed.world import GroupBroken

        if not kept:
            try:
                kept.append(crew.load(lambda: load_base(settings, crew.world)))
            except GroupBroken as error:
                raise RunInterrupted(str(error)) from error
            gc.collect()
        return kept[0]

    return model


def load_base(settings: Settings, world: "World") -> "PolicyModel":
    """The base model in this process, on its share of the machine's cores."""
    import torch

    from thumbwheel_learner.model.loading import load_policy
    from thumbwheel_learner.model.policy import Memory

    torch.set_num_threads(1)
    base, training = resolve_base(settings.model), settings.training
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if world.size > 1 else 1
    return load_policy(
        base,
        seed=training.seed,
        memory=Memory(gradient_checkpointing=training.gradient_checkpointing == "yes"),
        workers=training.threads or max(1, (os.cpu_count() or 1) // beside),
        chat_template=None if has_chat_template(base) else PLAIN_CHAT_TEMPLATE,
        world=world,
        shard=training.shard_base == "yes",
    )
