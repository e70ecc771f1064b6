"""Every key has its own budget, which refills evenly; whoever has used it up is told when to come back."""

from pathlib import Path

import pytest
from tests.serving import admin_key, alive, client, idle_app
from tests.unit.service.auth.test_access import make_key

from thumbwheel_service.auth.rates import Rates
from thumbwheel_service.settings import Limits


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("per_minute", [1, 2, 3, 7, 60, 600, 100_000])
def test_a_whole_budget_may_be_spent_at_once_and_no_more(per_minute: int) -> None:
    rates = Rates(per_minute, clock=Clock())
    spent = [rates.spend("a") for _ in range(min(per_minute, 700))]
    assert [refusal for _, refusal in spent] == [None] * len(spent)
    assert [quota.remaining for quota, _ in spent] == [per_minute - 1 - n for n in range(len(spent))]
    assert {quota.limit for quota, _ in spent} == {per_minute}
    if per_minute <= 700:
        quota, refusal = rates.spend("a")
        assert refusal is not None
        assert (quota.remaining, quota.reset_seconds) == (0, pytest.approx(60.0))
        assert refusal.retry_after == pytest.approx(60.0 / per_minute)


def test_a_budget_refills_evenly_and_never_beyond_itself() -> None:
    clock = Clock()
    rates = Rates(6, clock=clock)
    for _ in range(6):
        rates.spend("a")
    clock.now += 9.9
    assert rates.spend("a")[1] is not None
    clock.now += 0.2
    assert rates.spend("a")[1] is None
    assert rates.spend("a")[1] is not None
    clock.now += 3600
    assert [rates.spend("a")[1] is None for _ in range(7)] == [True] * 6 + [False]


def test_a_refused_call_costs_nothing() -> None:
    clock = Clock()
    rates = Rates(1, clock=clock)
    rates.spend("a")
    for _ in range(50):
        rates.spend("a")
    clock.now += 60.0
    assert rates.spend("a")[1] is None


def test_keys_do_not_spend_each_others_budgets() -> None:
    rates = Rates(1, clock=Clock())
    assert [rates.spend(who)[1] is None for who in ("a", "b", None, "a", None)] == [True, True, True, False, False]


async def test_over_http_the_headers_say_what_is_left(tmp_path: Path) -> None:
    app = idle_app(tmp_path, limits=Limits(calls_per_minute=2))
    async with alive(app):
        key = {"authorization": f"Bearer {make_key(tmp_path).text}"}
        admin = {"authorization": f"Bearer {admin_key(tmp_path)}"}
        async with client(app) as http:
            answers = [await http.get("/v1/turns", headers=key) for _ in range(3)]
            unlimited = [await http.get("/v1/turns", headers=admin) for _ in range(5)]
            chat = await http.get("/v1/models", headers=key)
    assert [a.status_code for a in answers] == [200, 200, 429]
    assert [a.headers["x-ratelimit-remaining-requests"] for a in answers] == ["1", "0", "0"]
    assert [a.headers["x-ratelimit-limit-requests"] for a in answers] == ["2"] * 3
    assert 29.0 < float(answers[0].headers["x-ratelimit-reset-requests"].removesuffix("s")) <= 30.0
    assert answers[2].headers["retry-after"] == "30"
    assert answers[2].json()["code"] == "rate_limited"
    assert "2 requests a minute" in answers[2].json()["detail"]
    assert all(a.status_code == 200 and "x-ratelimit-limit-requests" not in a.headers for a in [*unlimited, chat])
