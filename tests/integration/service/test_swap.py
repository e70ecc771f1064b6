"""Hot swaps on real vLLM: exact, complete, and never to what should not be served."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import openai
import pytest
from tests.integration.conftest import RealService
from tests.integration.service.trainer import logprobs
from tests.tiny_model import make_adapter

from thumbwheel.artifact import MANIFEST
from thumbwheel.events import POLICIES, PolicyRejected, PolicyRouted, decode
from thumbwheel.internal import (
    CandidateIn,
    CandidateLoaded,
    LogPages,
    LogPosition,
    LogRead,
    RolloutRequest,
    RolloutResult,
)
from thumbwheel.types import VERSION_HEADER

pytestmark = pytest.mark.vllm
EXACT = 1e-4
PROMPTS = [[1] + [5 + (7 * i + 3 * j) % 290 for j in range(20 + i)] for i in range(6)]
LONG = [{"role": "user", "content": "Hello, where is my order? " * 20}]


def sample(service: RealService, policy: str, **fields: Any) -> RolloutResult:
    request = RolloutRequest(**{"policy": policy, "prompts": PROMPTS, "max_tokens": 24, "seed": 1, **fields})
    return service.packed("/internal/rollouts", request, RolloutResult)


def greedy(service: RealService, model: str = "thumbwheel") -> tuple[list[int], list[int], list[float]]:
    """Prompt ids, token ids and served log-probabilities of one greedy answer to a prompt of several cache blocks."""
    answer = service.client().chat.completions.create(
        model=model, messages=LONG, max_tokens=32, temperature=0.0, logprobs=True, extra_body={"return_token_ids": True}
    )
    assert answer.choices[0].logprobs is not None
    content = answer.choices[0].logprobs.content or []
    extra = answer.model_extra or {}
    tokens = (answer.choices[0].model_extra or {})["token_ids"]
    return extra["prompt_token_ids"], tokens, [entry.logprob for entry in content]


def routed(service: RealService) -> list[PolicyRouted]:
    read = LogRead(positions=[LogPosition(POLICIES.name, 0, 0)], limit=1000)
    pages = service.packed("/internal/log/read", read, LogPages)
    events = [decode(row.value).event for row in pages.pages[0].rows]
    return [event for event in events if isinstance(event, PolicyRouted)]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("policy", ["adapter", "base"])
def test_trainer_and_engine_agree(
    real_service: RealService, tiny_adapters: list[Path], policy: str, temperature: float
) -> None:
    adapter = tiny_adapters[0] if policy == "adapter" else None
    name = "base"
    if adapter is not None:
        real_service.write("agree", adapter, artifact="candidates/agree")
        name = real_service.packed(
            "/internal/candidates", CandidateIn(artifact="candidates/agree"), CandidateLoaded
        ).name
    result = sample(real_service, name, temperature=temperature, n=2)
    for prompt, row in zip(PROMPTS, result.completions, strict=True):
        for one in row:
            expected = logprobs(real_service.model, adapter, prompt, one.token_ids, temperature)
            assert one.logprobs == pytest.approx(expected, abs=EXACT)


def test_policies_that_share_a_batch_do_not_mix(real_service: RealService, tiny_adapters: list[Path]) -> None:
    names = ["base"]
    for i, adapter in enumerate(tiny_adapters[:2]):
        real_service.write(f"mix{i}", adapter, artifact=f"candidates/mix{i}")
        loaded = real_service.packed(
            "/internal/candidates", CandidateIn(artifact=f"candidates/mix{i}"), CandidateLoaded
        )
        names.append(loaded.name)
    results: dict[str, RolloutResult] = {}

    def run(name: str) -> None:
        results[name] = sample(real_service, name, n=4, max_tokens=40)

    threads = [threading.Thread(target=run, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, adapter in zip(names, [None, *tiny_adapters[:2]], strict=True):
        for prompt, row in zip(PROMPTS, results[name].completions, strict=True):
            for one in row:
                expected = logprobs(real_service.model, adapter, prompt, one.token_ids)
                assert one.logprobs == pytest.approx(expected, abs=EXACT)


def test_right_after_a_swap_a_warm_cache_serves_the_new_policy(
    base_is_live: RealService, tiny_adapters: list[Path]
) -> None:
    service, (first, second, _) = base_is_live, tiny_adapters
    service.swap_to("warm1", first)
    for _ in range(3):
        prompt, tokens, served = greedy(service)
    assert len(prompt) > 256
    assert served == pytest.approx(logprobs(service.model, first, prompt, tokens), abs=EXACT)

    service.swap_to("warm2", second)
    prompt, tokens, served = greedy(service)
    new = logprobs(service.model, second, prompt, tokens)
    old = logprobs(service.model, first, prompt, tokens)
    assert sum(abs(a - b) for a, b in zip(new, old, strict=True)) / len(new) >= 0.1
    assert served == pytest.approx(new, abs=EXACT)

    pinned = greedy(service, "warm1")
    assert pinned[2] == pytest.approx(logprobs(service.model, first, pinned[0], pinned[1]), abs=EXACT)


def test_streams_that_straddle_a_swap_end_on_the_version_they_began_with(
    base_is_live: RealService, tiny_adapters: list[Path]
) -> None:
    service, (first, second, _) = base_is_live, tiny_adapters
    service.swap_to("straddle1", first)
    begun = threading.Barrier(9)
    swapped = threading.Event()
    after_swap = [0] * 8
    ids = [""] * 8
    finished = [""] * 8

    def talk(i: int) -> None:
        body = {"messages": LONG[:1], "max_tokens": 240, "ignore_eos": True, "stream": True, "seed": i}
        with (
            httpx.Client(base_url=service.url, timeout=60) as client,
            client.stream("POST", "/v1/chat/completions", json=body) as answer,
        ):
            assert answer.headers[VERSION_HEADER] == "straddle1"
            lines = (line for line in answer.iter_lines() if line)
            ids[i] = json.loads(next(lines).removeprefix("data: "))["id"]
            begun.wait()
            for line in lines:
                after_swap[i] += swapped.is_set()
                finished[i] = line

    threads = [threading.Thread(target=talk, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    begun.wait()
    service.swap_to("straddle2", second)
    swapped.set()
    chat = service.client().chat.completions.create(model="thumbwheel", messages=LONG, max_tokens=4)
    for thread in threads:
        thread.join()

    assert chat.model_extra is not None
    assert chat.model_extra["thumbwheel"]["policy_version"] == "straddle2"
    assert all(line == "data: [DONE]" for line in finished)
    assert all(count > 1 for count in after_swap)
    prompt = greedy(service)[0]
    for completion_id in ids:
        turn = service.turn(completion_id)
        assert turn.policy_version == "straddle1"
        choice = turn.choices[0]
        assert choice.token_ids is not None
        assert len(choice.token_ids) == 240
        expected = logprobs(service.model, first, prompt, choice.token_ids)
        assert choice.logprobs == pytest.approx(expected, abs=EXACT)


def test_a_swap_is_told_with_its_duration(base_is_live: RealService, tiny_adapters: list[Path]) -> None:
    policy = base_is_live.swap_to("timed", tiny_adapters[0])
    assert policy.swap_seconds is not None
    assert 0 < policy.swap_seconds < 10
    event = routed(base_is_live)[-1]
    assert (event.version, event.previous, event.reason) == ("timed", "base", "published")
    assert event.epoch == base_is_live.policies().epoch
    assert policy.lineage["parent"] == "base"


def test_old_versions_can_be_pinned_and_older_ones_are_unloaded(
    base_is_live: RealService, tiny_adapters: list[Path]
) -> None:
    service = base_is_live
    for i in range(4):
        service.swap_to(f"gen{i}", tiny_adapters[i % 3])
    assert service.wait_for("gen0", "retired")
    names = {model.id for model in service.client().models.list()}
    assert {"gen1", "gen2", "gen3"} <= names
    assert "gen0" not in names
    with pytest.raises(openai.NotFoundError):
        service.client().chat.completions.create(model="gen0", messages=LONG, max_tokens=2)

    response = service.admin.post("/v1/policies/rollback", json={})
    assert response.json()["live"] == "gen2"
    service.roll_back_to("gen0")
    assert service.policies().live == "gen0"


def test_a_manual_promotion_waits_for_a_yes(base_is_live: RealService, tiny_adapters: list[Path]) -> None:
    service = base_is_live
    service.write("waits", tiny_adapters[0])
    service.announce("waits", promote="manual")
    service.wait_for("waits", "loaded")
    assert service.policies().live == "base"
    assert service.admin.post("/v1/policies/waits/promote").json()["live"] == "waits"


def flip_a_byte(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-5] ^= 0xFF
    path.write_bytes(raw)


def cut_off(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def unsign(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["signature"] = ""
    (folder / MANIFEST).write_text(json.dumps(manifest))


def remove_weights(folder: Path) -> None:
    (folder / "adapter_model.safetensors").unlink()


@pytest.mark.parametrize(
    ("flaw", "spoil", "fields", "reason"),
    [
        pytest.param("corrupt", flip_a_byte, {}, "sha256", id="corrupt"),
        pytest.param("truncated", cut_off, {}, "sha256", id="truncated"),
        pytest.param("missing", remove_weights, {}, "missing", id="missing"),
        pytest.param("unsigned", unsign, {}, "no signature", id="unsigned"),
        pytest.param("forged", None, {"key": b"x" * 64}, "signature does not match", id="signed with another key"),
        pytest.param("otherbase", None, {"base_model": "0" * 64}, "another base model", id="wrong base"),
        pytest.param("liar", None, {"rank": 4}, "rank 4", id="manifest and adapter disagree"),
    ],
)
def test_a_flawed_artifact_is_rejected_and_the_old_route_serves(
    base_is_live: RealService,
    tiny_adapters: list[Path],
    flaw: str,
    spoil: Callable[[Path], None] | None,
    fields: dict[str, Any],
    reason: str,
) -> None:
    folder = base_is_live.write(f"bad-{flaw}", tiny_adapters[0], **fields)
    if spoil is not None:
        spoil(folder)
    assert_rejected(base_is_live, f"bad-{flaw}", reason)


def test_a_rank_above_the_engines_is_rejected(base_is_live: RealService, tmp_path: Path) -> None:
    adapter = make_adapter(base_is_live.model, tmp_path / "r32", rank=32)
    base_is_live.write("bad-rank", adapter)
    assert_rejected(base_is_live, "bad-rank", "rank 32 is above the 16")


def test_an_adapter_with_nan_is_rejected(base_is_live: RealService, tmp_path: Path) -> None:
    adapter = make_adapter(base_is_live.model, tmp_path / "nan", rank=8, scale=float("nan"))
    base_is_live.write("bad-nan", adapter)
    assert_rejected(base_is_live, "bad-nan", "NaN or infinity")


def test_an_adapter_that_overflows_in_the_model_is_rejected(base_is_live: RealService, tmp_path: Path) -> None:
    adapter = make_adapter(base_is_live.model, tmp_path / "huge", rank=8, scale=1e30)
    base_is_live.write("bad-huge", adapter)
    assert_rejected(base_is_live, "bad-huge", "finite")


def assert_rejected(service: RealService, version: str, reason: str) -> None:
    service.announce(version)
    policy = service.wait_for(version, "rejected")
    assert reason in (policy.reason or "")
    assert service.policies().live == "base"
    answer = service.client().chat.completions.create(model="thumbwheel", messages=LONG, max_tokens=4)
    assert answer.model_extra is not None
    assert answer.model_extra["thumbwheel"]["policy_version"] == "base"
    read = LogRead(positions=[LogPosition(POLICIES.name, 0, 0)], limit=1000)
    pages = service.packed("/internal/log/read", read, LogPages)
    told = [decode(row.value).event for row in pages.pages[0].rows if row.key == f"rejected/{version}"]
    assert [event.reason for event in told if isinstance(event, PolicyRejected)] == [policy.reason]


def test_a_candidate_is_sampled_from_and_never_seen(real_service: RealService, tiny_adapters: list[Path]) -> None:
    real_service.write("hidden", tiny_adapters[2], artifact="candidates/hidden")
    loaded = real_service.packed("/internal/candidates", CandidateIn(artifact="candidates/hidden"), CandidateLoaded)
    assert loaded.name not in {model.id for model in real_service.client().models.list()}
    for name in (loaded.name, "hidden"):
        with pytest.raises(openai.NotFoundError):
            real_service.client().chat.completions.create(model=name, messages=LONG, max_tokens=2)
    assert real_service.policy("hidden") is None

    first, again = (sample(real_service, loaded.name, n=3) for _ in range(2))
    answers, repeated = ([one for row in sampled.completions for one in row] for sampled in (first, again))
    for one, other in zip(answers, repeated, strict=True):
        assert (one.token_ids, one.text, one.finish_reason) == (other.token_ids, other.text, other.finish_reason)
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
    assert len({tuple(one.token_ids) for one in first.completions[0]}) == 3
    for row in first.completions:
        for one in row:
            assert len(one.token_ids) == len(one.logprobs)
            assert (one.finish_reason == "stop") == (one.token_ids[-1] == 2)

    assert real_service.admin.delete(f"/internal/candidates/{loaded.name}").status_code == 204
    assert real_service.admin.delete(f"/internal/candidates/{loaded.name}").status_code == 404
    gone = post_packed(real_service, RolloutRequest(policy=loaded.name, prompts=PROMPTS, max_tokens=4))
    assert gone.status_code == 404


@pytest.mark.parametrize("prompt", [[99_999], [-1], [1] * 600], ids=["unknown token", "negative token", "too long"])
def test_a_prompt_that_the_model_cannot_take_is_refused(real_service: RealService, prompt: list[int]) -> None:
    response = post_packed(real_service, RolloutRequest(policy="base", prompts=[PROMPTS[0], prompt], max_tokens=4))
    assert response.status_code == 400, response.text


def test_seeded_rollouts_beside_long_prompts_leave_the_engine_alive(real_service: RealService) -> None:
    prompts = [[1] + [5 + (11 * i + 3 * j) % 290 for j in range(400)] for i in range(48)]
    result = sample(real_service, "base", prompts=prompts, max_tokens=4)
    assert len(result.completions) == 48
    assert real_service.public.get("/readyz").status_code == 200


def test_the_learners_routes_are_closed_to_others(real_service: RealService) -> None:
    for method, path in (
        ("POST", "/internal/candidates"),
        ("POST", "/internal/rollouts"),
        ("GET", "/internal/route"),
        ("GET", "/v1/policies"),
        ("POST", "/v1/policies/rollback"),
    ):
        assert real_service.public.request(method, path).status_code == 401


def post_packed(service: RealService, body: Any) -> httpx.Response:
    return service.admin.post(
        "/internal/rollouts",
        content=msgspec.msgpack.encode(body),
        headers={"content-type": "application/msgpack"},
    )
