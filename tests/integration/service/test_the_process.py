"""What is live stays live over restarts and kills; a dead engine is said; nothing outlives the service."""

import os
import signal
import time
from pathlib import Path

import openai
import pytest
from tests.integration.conftest import RealService
from tests.integration.service.test_swap import EXACT, LONG, greedy
from tests.processes import command_of, descendants, is_alive

pytestmark = pytest.mark.vllm


def survivors(processes: list[int]) -> list[str]:
    """Command lines of those that still run after a while."""
    deadline = time.monotonic() + 20
    while any(map(is_alive, processes)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return [command_of(pid) for pid in processes if is_alive(pid)]


def test_a_warm_cache_after_a_swap_answers_as_a_cold_start_does(
    base_is_live: RealService, tiny_adapters: list[Path]
) -> None:
    service, (first, second, _) = base_is_live, tiny_adapters
    service.swap_to("cold1", first)
    for _ in range(3):
        before = greedy(service)
    service.swap_to("cold2", second)
    warm = greedy(service)
    assert warm[1] != before[1]
    epoch = service.policies().epoch

    assert service.stop() in (0, -signal.SIGTERM)
    service.start()

    assert service.policies().live == "cold2"
    assert service.policies().epoch == epoch
    cold = greedy(service)
    assert cold[1] == warm[1]
    assert warm[2] == pytest.approx(cold[2], abs=EXACT)
    assert greedy(service, "cold1")[1] == before[1]


def test_a_killed_service_takes_its_engine_along_and_comes_back(
    base_is_live: RealService, tiny_adapters: list[Path]
) -> None:
    service = base_is_live
    service.swap_to("killed", tiny_adapters[0])
    answer = service.client().chat.completions.create(model="thumbwheel", messages=LONG, max_tokens=4)
    stream = service.client().chat.completions.create(
        model="thumbwheel", messages=LONG, max_tokens=240, n=32, stream=True, extra_body={"ignore_eos": True}
    )
    open_id = next(iter(stream)).id
    assert service.process is not None
    children = descendants(service.process.pid)
    assert len(children) >= 2

    service.process.kill()
    service.process.wait()
    stream.close()
    assert survivors(children) == []

    service.start()
    assert service.policies().live == "killed"
    assert service.turn(answer.id).status == "complete"
    assert service.turn(open_id, "lost").status == "lost"


def test_a_dead_engine_is_noticed_and_said(real_service: RealService) -> None:
    assert real_service.process is not None
    children = descendants(real_service.process.pid)
    workers = [pid for pid in children if "EngineCore" in command_of(pid) or "Worker" in command_of(pid)]
    assert workers, [command_of(pid) for pid in children]
    os.kill(workers[0], signal.SIGKILL)
    deadline = time.monotonic() + 30
    while real_service.is_ready() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert real_service.public.get("/readyz").status_code == 503
    with pytest.raises(openai.InternalServerError) as caught:
        real_service.client().chat.completions.create(model="thumbwheel", messages=LONG, max_tokens=4)
    assert caught.value.status_code == 503
    assert real_service.public.get("/healthz").status_code == 200

    real_service.stop()
    assert survivors(children) == []
