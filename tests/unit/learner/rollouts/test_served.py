import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import msgspec
import pytest
from tests.learner_fakes import fake_adapter

from thumbwheel.artifact import read_verified
from thumbwheel.internal import CandidateIn, CandidateLoaded, RolloutRequest, RolloutResult, Sampled
from thumbwheel_learner.rollouts.served import RolloutFailed, RolloutRefused, ServiceRollouts, spread

KEY = b"k" * 64


class FakeService:
    """The service's internal routes, over a transport; `fail` may answer in their stead."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.loaded: list[str] = []
        self.ever: list[str] = []
        self.rollouts: list[RolloutRequest] = []
        self.fail: Callable[[httpx.Request], httpx.Response | None] = lambda request: None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        answer = self.fail(request)
        if answer is not None:
            return answer
        if request.method == "DELETE":
            name = request.url.path.rpartition("/")[2]
            self.loaded = [n for n in self.loaded if n != name]
            return httpx.Response(204)
        if request.url.path == "/internal/candidates":
            artifact = msgspec.msgpack.decode(request.content, type=CandidateIn).artifact
            _, manifest = read_verified(self.store, artifact, KEY)
            self.loaded.append(manifest.version)
            self.ever.append(artifact)
            return self._ok(CandidateLoaded(name=manifest.version, seconds=0.1))
        asked = msgspec.msgpack.decode(request.content, type=RolloutRequest)
        if asked.policy != "base" and asked.policy not in self.loaded:
            return httpx.Response(404, json={"title": "Not found", "status": 404, "detail": "no such policy"})
        self.rollouts.append(asked)
        firsts = [prompt[0] for prompt in asked.prompts]
        rows = [[Sampled([i, j], [-0.5, -0.25], "stop", f"{i}/{j}") for j in range(asked.n)] for i in firsts]
        return self._ok(RolloutResult(completions=rows, policy=asked.policy, seconds=0.1))

    def _ok(self, body: object) -> httpx.Response:
        return httpx.Response(200, content=msgspec.msgpack.encode(body))


@pytest.fixture
def service(tmp_path: Path) -> FakeService:
    (tmp_path / "store").mkdir()
    return FakeService(tmp_path / "store")


def rollouts(service: FakeService, **options: object) -> ServiceRollouts:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    http = httpx.Client(base_url="http://service", transport=httpx.MockTransport(service))
    settings = {"sleep": sleep, "clock": lambda: now[0], "calls_at_once": 1, **options}
    return ServiceRollouts(http, store=service.store, key=KEY, base_model="f" * 64, **settings)


def sample(engine: ServiceRollouts, adapter: Path | None, prompts: int = 2, n: int = 2) -> list[list[str]]:
    ids = [[i + 1] for i in range(prompts)]
    rows = engine.sample(adapter, ids, n=n, max_tokens=8, temperature=1.0, seed=7)
    return [[rollout.text for rollout in row] for row in rows]


def test_the_base_needs_no_candidate(service: FakeService) -> None:
    assert sample(rollouts(service), None) == [["1/0", "1/1"], ["2/0", "2/1"]]
    assert (service.ever, service.rollouts[0].policy) == ([], "base")


def test_a_candidate_is_loaded_once_per_adapter_and_unloaded_at_the_end(service: FakeService, tmp_path: Path) -> None:
    engine = rollouts(service)
    adapter = fake_adapter(tmp_path / "a")
    sample(engine, adapter)
    sample(engine, adapter)
    assert len(service.ever) == 1
    fake_adapter(adapter, b"other weights")
    sample(engine, adapter)
    assert len(set(service.ever)) == 2
    assert len(service.loaded) == 1
    assert len(list((service.store / "candidates").iterdir())) == 1
    engine.close()
    assert service.loaded == []
    assert list((service.store / "candidates").iterdir()) == []


def test_many_prompts_go_in_chunks_with_seeds_that_do_not_depend_on_them(service: FakeService) -> None:
    sample(rollouts(service, sequences_per_call=4), None, prompts=5)
    assert [len(r.prompts) for r in service.rollouts] == [2, 2, 1]
    assert [r.seed for r in service.rollouts] == [spread(7), spread(7) + 2, spread(7) + 4]
    assert spread(7) != spread(8)


def test_parallel_chunks_come_back_in_order(service: FakeService, tmp_path: Path) -> None:
    engine = rollouts(service, sequences_per_call=2, calls_at_once=4)
    texts = sample(engine, fake_adapter(tmp_path / "a"), prompts=20, n=2)
    assert texts == [[f"{i + 1}/0", f"{i + 1}/1"] for i in range(20)]
    assert len(service.ever) == 1


def test_a_restarted_service_gets_the_candidate_again_under_a_new_path(service: FakeService, tmp_path: Path) -> None:
    engine = rollouts(service, sequences_per_call=2)
    forgotten: list[bool] = []

    def restart(request: httpx.Request) -> httpx.Response | None:
        if service.rollouts and not forgotten:
            forgotten.append(True)
            service.loaded.clear()
            raise httpx.ConnectError("refused")
        return None

    service.fail = restart
    assert sample(engine, fake_adapter(tmp_path / "a"), prompts=3) == [[f"{i}/0", f"{i}/1"] for i in (1, 2, 3)]
    assert len(set(service.ever)) == 2
    assert len(list((service.store / "candidates").iterdir())) == 1


def test_a_busy_service_is_asked_again_after_the_time_it_names(service: FakeService) -> None:
    waits: list[str] = []
    answers = [httpx.Response(503), httpx.Response(429, headers={"retry-after": "30"})]
    service.fail = lambda request: answers.pop() if answers else None
    assert sample(rollouts(service, on_wait=waits.append), None)
    assert len(waits) == 2


def test_patience_ends_with_the_last_reason(service: FakeService) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused")

    service.fail = refuse
    with pytest.raises(RolloutFailed, match="30 s: connection refused"):
        sample(rollouts(service, patience_s=30), None)


def test_waiting_can_be_interrupted(service: FakeService) -> None:
    class Stop(Exception):
        pass

    def stop(reason: str) -> None:
        raise Stop(reason)

    service.fail = lambda request: httpx.Response(503)
    with pytest.raises(Stop):
        sample(rollouts(service, on_wait=stop), None)


def test_a_policy_that_gives_nonsense_is_not_asked_again(service: FakeService) -> None:
    problem = {"title": "Unavailable", "status": 503, "detail": "not finite", "code": "broken_rollout"}
    service.fail = lambda request: httpx.Response(503, json=problem)
    with pytest.raises(RolloutRefused, match="not finite"):
        sample(rollouts(service), None)


def test_a_refused_candidate_is_final_and_leaves_no_files(service: FakeService, tmp_path: Path) -> None:
    problem = {"title": "Bad request", "status": 400, "detail": "rank 64 is above 16"}
    service.fail = lambda request: httpx.Response(400, json=problem)
    with pytest.raises(RolloutRefused, match="rank 64 is above 16"):
        sample(rollouts(service), fake_adapter(tmp_path / "a"))
    assert list((service.store / "candidates").iterdir()) == []


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ([Sampled([1, 2], [-1.0], "stop", "")], "log-probability"),
        ([Sampled([1], [float("-inf")], "stop", "")], "log-probability"),
        ([], "another number"),
    ],
)
def test_an_answer_that_cannot_be_trained_on_is_refused(service: FakeService, row: list[Sampled], reason: str) -> None:
    body = msgspec.msgpack.encode(RolloutResult(completions=[row], policy="base", seconds=0.1))
    service.fail = lambda request: httpx.Response(200, content=body)
    with pytest.raises(RolloutFailed, match=reason):
        sample(rollouts(service), None, prompts=1, n=1)


def test_what_an_earlier_learner_left_is_removed_at_the_start(service: FakeService) -> None:
    fake_adapter(service.store / "candidates" / "c-old")
    service.loaded = ["c-old"]
    rollouts(service).clean()
    assert service.loaded == []
    assert list((service.store / "candidates").iterdir()) == []


def test_a_stop_does_not_wait_for_the_answer(service: FakeService) -> None:
    asked, over = threading.Event(), threading.Event()

    class Stop(Exception):
        pass

    def stop() -> None:
        if asked.is_set():
            raise Stop

    def never_answer(request: httpx.Request) -> httpx.Response | None:
        asked.set()
        over.wait(30)
        return None

    service.fail = never_answer
    engine = rollouts(service, check=stop)
    with pytest.raises(Stop):
        sample(engine, None)
    assert not over.is_set()
    over.set()
    engine.close()
