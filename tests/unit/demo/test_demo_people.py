"""Simulated people: their habits, over a fake service."""

import json
import random
from collections import Counter
from dataclasses import replace
from typing import Any

import httpx
import pytest

from thumbwheel import AsyncClient
from thumbwheel_demo.corpus import prompts
from thumbwheel_demo.people import Chat, People, PeopleSettings
from thumbwheel_demo.satisfaction import correct, judge

SCENARIOS = prompts("live", 390, 1)
GOOD = {json.dumps(list(s.messages)): correct(s, random.Random(s.id)) for s in SCENARIOS}


class Desk:
    """A service that answers well every other time and remembers what people sent."""

    def __init__(self, *, good: float = 0.5, finish: str = "stop", status: int = 200) -> None:
        self.good, self.finish, self.status = good, finish, status
        self.chats: list[dict[str, Any]] = []
        self.feedback: list[dict[str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        if self.status != 200:
            return httpx.Response(self.status, json={"title": "no", "status": self.status, "detail": "no"})
        return self.answer(body) if request.url.path.endswith("completions") else self.take(body)

    def answer(self, body: dict[str, Any]) -> httpx.Response:
        self.chats.append(body)
        key = json.dumps(body["messages"])
        text = GOOD[key] if random.Random(key).random() < self.good else "That is not my problem."
        stamp = {"completion_id": f"c-{len(self.chats)}", "policy_version": "p-0", "conversation_id": "k"}
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": self.finish}
        return httpx.Response(200, json={"id": stamp["completion_id"], "choices": [choice], "thumbwheel": stamp})

    def take(self, body: dict[str, Any]) -> httpx.Response:
        self.feedback.append(body)
        record = {"feedback_id": "f", "revision": 1, "retracted": False, "kind": body["kind"], "created_ms": 0}
        return httpx.Response(200, json={**record, "updated_ms": 0, "feedback": body})


async def visit(desk: Desk, settings: PeopleSettings, n: int = 390) -> list[Chat]:
    async with AsyncClient("http://desk", transport=httpx.MockTransport(desk), max_retries=0) as client:
        return await People(client, replace(settings, stream_share=0.0)).wave(SCENARIOS[:n])


async def test_customers_vote_sometimes_more_often_when_annoyed_and_rarely_wrongly() -> None:
    desk = Desk()
    chats = await visit(desk, PeopleSettings(votes=0.4))
    voted = [c for c in chats if c.vote]
    assert 0.32 < len(voted) / len(chats) < 0.48
    content = [c for c in chats if c.verdict and c.verdict.satisfied]
    annoyed = [c for c in chats if c.verdict and not c.verdict.satisfied]
    shares = [sum(c.vote is not None for c in group) / len(group) for group in (content, annoyed)]
    assert 1.4 < shares[1] / shares[0] < 2.9
    wrong = [c for c in voted if c.verdict and (c.vote == "up") != c.verdict.satisfied]
    assert 0.03 < len(wrong) / len(voted) < 0.18
    thumbs = [f for f in desk.feedback if f["kind"] == "thumb"]
    assert len(thumbs) == len(voted)
    assert all(t["user"].startswith("live-customer-") for t in thumbs)
    assert all(c["temperature"] == 1.0 and c["user"] for c in desk.chats)


async def test_agents_correct_a_share_of_the_bad_answers_with_good_ones() -> None:
    desk = Desk()
    chats = await visit(desk, PeopleSettings(corrections=0.2, votes=0.0))
    corrected = [c for c in chats if c.correction]
    bad = [c for c in chats if c.verdict and not c.verdict.satisfied]
    assert 0.1 < len(corrected) / len(bad) < 0.3
    assert all(judge(c.scenario, c.correction or "").satisfied for c in corrected)
    assert {f["kind"] for f in desk.feedback} == {"correction"}
    assert all(f["user"].startswith("agent-") for f in desk.feedback)


async def test_the_same_seed_gives_the_same_people() -> None:
    runs = [await visit(Desk(), PeopleSettings(seed=seed), 100) for seed in (1, 1, 2)]
    habits = [[(c.vote, c.correction) for c in run] for run in runs]
    assert habits[0] == habits[1] != habits[2]


async def test_shuffled_votes_keep_their_number_but_carry_no_information() -> None:
    plain = await visit(Desk(), PeopleSettings(votes=0.6))
    mixed = await visit(Desk(), PeopleSettings(votes=0.6, shuffle_votes=True))
    assert Counter(c.vote for c in plain) == Counter(c.vote for c in mixed)
    ups = {
        good: [c.vote == "up" for c in mixed if c.vote and c.verdict and c.verdict.satisfied is good]
        for good in (True, False)
    }
    assert abs(sum(ups[True]) / len(ups[True]) - sum(ups[False]) / len(ups[False])) < 0.15


async def test_later_shuffled_waves_do_not_show_their_quality() -> None:
    desk = Desk()
    async with AsyncClient("http://desk", transport=httpx.MockTransport(desk)) as client:
        people = People(client, PeopleSettings(votes=0.8, shuffle_votes=True, stream_share=0.0))
        first = await people.wave(SCENARIOS[:195])
        desk.good = 1.0
        second = await people.wave(SCENARIOS[195:])
    share = [sum(c.vote == "up" for c in wave) / sum(c.vote is not None for c in wave) for wave in (first, second)]
    assert abs(share[0] - share[1]) < 0.15


async def test_examining_leaves_no_trace() -> None:
    desk = Desk()
    async with AsyncClient("http://desk", transport=httpx.MockTransport(desk)) as client:
        chats = await People(client, PeopleSettings(stream_share=0.0)).examine(SCENARIOS[:20], model="p-0")
    assert all(c.verdict for c in chats)
    assert not desk.feedback
    assert all(c["store"] is False and c["model"] == "p-0" and "user" not in c for c in desk.chats)


@pytest.mark.parametrize("status", [404, 503])
async def test_a_failing_service_loses_chats_but_never_raises(status: int) -> None:
    chats = await visit(Desk(status=status), PeopleSettings(), 5)
    assert all(c.lost and c.error for c in chats)


async def test_an_aborted_answer_counts_as_cut() -> None:
    assert all(c.cut for c in await visit(Desk(finish="abort"), PeopleSettings(), 5))
    assert not any(c.cut for c in await visit(Desk(finish="length"), PeopleSettings(), 5))
