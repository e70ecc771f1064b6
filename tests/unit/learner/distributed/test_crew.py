"""Who leads and who follows, with two threads for processes and a list for a model."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from tests.learner_world import Together, in_all

from thumbwheel_learner.distributed.crew import Crew, Tools, follow
from thumbwheel_learner.distributed.world import GroupBroken
from thumbwheel_learner.errors import LearnerError
from thumbwheel_learner.progress import silent
from thumbwheel_learner.rollouts.engine import Rollout

ROLLOUT = Rollout([5], [-0.5], True, "yes")


class Engine:
    """Says yes."""

    def sample(self, adapter: Path | None, prompts: Sequence[Sequence[int]], **how: Any) -> list[list[Rollout]]:
        return [[ROLLOUT] for _ in prompts]


class TooLittle(LearnerError):
    """What a trainer raises on purpose."""


def sample_and_note(tools: Tools, *, prompts: list[list[int]]) -> int:
    sampled = tools.rollouts.sample(None, prompts, n=1, max_tokens=1, temperature=1.0, seed=0)
    cast(Any, tools.model).append(sampled)
    return len(sampled)


def report(tools: Tools) -> None:
    tools.progress("ppo", 0.5, "half")
    cast(Any, tools.model).append("went on")


def refuse(_: Tools) -> None:
    raise TooLittle("no labels")


def fail_in(rank: int, worlds: dict[int, Any], tools: Tools) -> None:
    if tools.model is worlds[rank]:
        raise RuntimeError("out of memory")
    tools.progress("ppo", 0.5, "half")


class Pair:
    """A leader and a follower, each with a model of its own."""

    def __init__(self) -> None:
        self.models: dict[int, Any] = {0: [], 1: []}
        self.why: list[str] = []
        self.lost = 0

    def both(self, lead: Any) -> Any:
        def work(world: Together) -> Any:
            if world.rank:
                return follow(world, lambda: self.models[1], told=self.why.append)
            crew = Crew(world, lost=self._lose)
            model = crew.load(lambda: self.models[0])
            try:
                return lead(crew, model)
            finally:
                crew.dismiss()

        return in_all(2, work)[0]

    def _lose(self) -> None:
        self.lost += 1


def test_a_follower_does_every_job_with_the_answers_that_the_first_sampled() -> None:
    pair = Pair()
    job = partial(sample_and_note, prompts=[[1], [2]])
    counts = pair.both(lambda crew, model: [crew.do(job, model, Engine(), silent) for _ in range(2)])
    assert counts == [2, 2]
    assert pair.models[0] == pair.models[1] == [[[ROLLOUT], [ROLLOUT]]] * 2
    assert pair.lost == 0


def test_what_ends_a_job_in_the_first_ends_it_in_the_others_and_the_next_is_done() -> None:
    pair = Pair()

    def stopped(stage: str, share: float, detail: str) -> None:
        raise KeyError("told to stop")

    def lead(crew: Crew, model: Any) -> None:
        with pytest.raises(KeyError, match="told to stop"):
            crew.do(report, model, None, stopped)
        with pytest.raises(TooLittle):
            crew.do(refuse, model, None, silent)
        with pytest.raises(LearnerError, match="no engine"):
            crew.do(partial(sample_and_note, prompts=[[1]]), model, None, silent)
        crew.do(report, model, None, silent)

    pair.both(lead)
    assert pair.models == {0: ["went on"], 1: ["went on"]}
    assert len(pair.why) == 3
    assert "told to stop" in pair.why[0]
    assert pair.lost == 0


@pytest.mark.parametrize("rank", [0, 1])
def test_what_befalls_one_process_alone_breaks_the_group(rank: int) -> None:
    pair = Pair()
    pair.models = {0: ["first"], 1: ["second"]}
    with pytest.raises(GroupBroken, match="gone" if rank else "this process alone failed: RuntimeError: out of memory"):
        pair.both(lambda crew, model: crew.do(partial(fail_in, rank, pair.models), model, None, silent))
    assert pair.lost == 1


def test_one_process_is_its_own_crew_and_raises_what_its_trainers_raise() -> None:
    crew = Crew()
    model: Any = crew.load(lambda: cast(Any, []))
    assert crew.do(partial(sample_and_note, prompts=[[1]]), model, Engine(), silent) == 1
    with pytest.raises(RuntimeError, match="out of memory"):
        crew.do(partial(fail_in, 0, {0: model}), model, None, silent)
    crew.dismiss()
