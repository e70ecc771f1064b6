"""What is live stays live: over a restart, and over the death of the engine."""

import os
import signal
import time
from pathlib import Path

import openai
import pytest
from tests.e2e.processes import command_of, descendants
from tests.integration.conftest import RealService
from tests.integration.service.test_swap import EXACT, LONG, greedy

pytestmark = pytest.mark.vllm


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

    live = real_service.policies().live
    real_service.stop()
    real_service.start()
    assert real_service.policies().live == live
