"""Candidates are verified like versions, never public, and never pile up."""

import asyncio

import pytest
from tests.unit.service.policies.conftest import Wheel

from thumbwheel.internal import RolloutRequest
from thumbwheel_service.engine.protocol import EngineDown
from thumbwheel_service.errors import TooMany
from thumbwheel_service.policies.artifacts import Rejected
from thumbwheel_service.policies.candidates import MAX_CANDIDATES, NotACandidate, UnknownPolicy
from thumbwheel_service.policies.router import UnknownModel


def ask(policy: str) -> RolloutRequest:
    return RolloutRequest(policy=policy, prompts=[[1, 2], [3]], max_tokens=4, n=2)


async def load(wheel: Wheel, name: str) -> str:
    wheel.write(name, artifact=f"candidates/{name}")
    return (await wheel.candidates.load(f"candidates/{name}")).name


async def test_a_candidate_is_sampled_from_under_its_hidden_name(wheel: Wheel) -> None:
    name = await load(wheel, "c1")
    result = await wheel.candidates.sample(ask(name))
    assert [[s.text for s in row] for row in result.completions] == [[name, name], [name, name]]
    assert result.policy == name
    for model in (name, "c1"):
        with pytest.raises(UnknownModel):
            wheel.router.lease(model)
    assert [p.version for p in (await wheel.policies.list()).policies] == ["base"]


async def test_versions_and_the_base_can_be_sampled_from_too(wheel: Wheel) -> None:
    await wheel.offer("v1")
    assert (await wheel.candidates.sample(ask("v1"))).completions[0][0].text == "v1@1"
    assert (await wheel.candidates.sample(ask("base"))).completions[0][0].text == "base"
    with pytest.raises(UnknownPolicy):
        await wheel.candidates.sample(ask("v2"))


async def test_a_candidate_is_verified(wheel: Wheel) -> None:
    wheel.write("c1", artifact="candidates/c1", key=b"x" * 64)
    with pytest.raises(Rejected, match="signature"):
        await wheel.candidates.load("candidates/c1")
    wheel.write("v1")
    with pytest.raises(NotACandidate):
        await wheel.candidates.load("v1")
    with pytest.raises(Rejected, match="plain path"):
        await wheel.candidates.load("candidates/../v1")
    wheel.engine.refuse_load = "no"
    with pytest.raises(Rejected, match="no"):
        await load(wheel, "c2")
    assert list((wheel.folder / "private").iterdir()) == []


async def test_a_candidate_is_forgotten(wheel: Wheel) -> None:
    name = await load(wheel, "c1")
    await wheel.candidates.forget(name)
    assert wheel.engine.loaded() == []
    with pytest.raises(UnknownPolicy):
        await wheel.candidates.forget(name)
    with pytest.raises(UnknownPolicy):
        await wheel.candidates.sample(ask(name))


async def test_the_one_unused_longest_makes_room(wheel: Wheel) -> None:
    names = [await load(wheel, f"c{i}") for i in range(MAX_CANDIDATES)]
    await wheel.candidates.sample(ask(names[0]))
    newest = await load(wheel, "newest")
    assert wheel.engine.loaded() == [names[0], *names[2:], newest]


async def test_a_candidate_in_use_is_not_taken_away(wheel: Wheel) -> None:
    names = [await load(wheel, f"c{i}") for i in range(MAX_CANDIDATES)]
    wheel.engine.hold()
    running = [asyncio.ensure_future(wheel.candidates.sample(ask(name))) for name in names]
    await asyncio.sleep(0.01)
    with pytest.raises(TooMany):
        await load(wheel, "more")
    forgetting = asyncio.ensure_future(wheel.candidates.forget(names[0]))
    await asyncio.sleep(0.01)
    assert names[0] in wheel.engine.loaded()
    wheel.engine.go_on()
    assert [(await task).policy for task in running] == names
    await forgetting
    assert names[0] not in wheel.engine.loaded()


async def test_an_idle_candidate_is_taken_to_be_forgotten(wheel: Wheel) -> None:
    await load(wheel, "c1")
    await wheel.candidates.forget_idle()
    assert len(wheel.engine.loaded()) == 1
    wheel.candidates.idle_seconds = 0.0
    await asyncio.sleep(0.01)
    await wheel.candidates.forget_idle()
    assert wheel.engine.loaded() == []


async def test_a_dead_engine_is_said(wheel: Wheel) -> None:
    wheel.engine.die()
    with pytest.raises(EngineDown):
        await load(wheel, "c1")
    with pytest.raises(EngineDown):
        await wheel.candidates.sample(ask("base"))
