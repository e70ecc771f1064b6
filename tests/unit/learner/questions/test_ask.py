"""What is asked after a refresh, what is taken back, and within which budget."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import Engine
from tests.learner_models import make_base, one_thread_inside_operations
from tests.unit.learner.questions.desk_of_chats import Parrot, Ring, asked, chat, is_open, rows, store

from thumbwheel.events import ReviewWithdrawn
from thumbwheel.sealed import open_review
from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.questions.ask import DAY_MS, Asking, Sampling, draw, is_aside
from thumbwheel_learner.questions.pool import Chat
from thumbwheel_learner.questions.settings import QuestionSettings
from thumbwheel_learner.reward.config import RewardConfig
from thumbwheel_learner.reward.model import RewardModel

HOUR_MS = 3_600_000
NOW = 10 * DAY_MS


@pytest.fixture(scope="module")
def reward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RewardModel]:
    with one_thread_inside_operations():
        model = load_policy(make_base(tmp_path_factory.mktemp("base")))
        yield RewardModel(model, RewardConfig(members=3, rank=2, likelihood=False), "reward")


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


class Desk:
    """An asker over a store of 60 chats in 60 conversations."""

    def __init__(self, engine: Engine, reward: RewardModel, **settings: object) -> None:
        self.engine, self.reward, self.ring, self.clock = engine, reward, Ring(), Clock()
        self.parrot = Parrot()
        store(engine, [chat(n) for n in range(60)], self.ring)
        given = QuestionSettings(per_day=10, acquisition="bald", random_share=0.2, compare_share=0.0)
        self.asking = Asking(engine=engine, keys=self.ring, settings=replace(given, **settings), clock=self.clock)  # type: ignore[arg-type]

    def ask(self, seed: int = 0, *, compare: bool = True) -> dict[str, int]:
        sampling = Sampling(self.parrot, None, 100, 8) if compare else None
        return self.asking.ask(self.reward, "rm-1", sampling, seed=seed)

    def open(self) -> set[str]:
        return {row.completion_id for row in rows(self.engine, is_open)}


def test_a_day_s_budget_is_asked_with_its_random_slice(engine: Engine, reward: RewardModel) -> None:
    desk = Desk(engine, reward)
    said = desk.ask()
    assert (said["asked"], said["random"], said["open"]) == (10, 2, 10)
    found = [asked(row) for row in rows(engine)]
    assert {(event.kind, event.reward_model, event.expires_ms - NOW) for event in found} == {
        ("judge", "rm-1", 72 * HOUR_MS)
    }
    assert {event.acquisition for event in found if event.random} == {"random"}
    assert {event.acquisition for event in found if not event.random} == {"bald"}
    assert len({event.conversation_id for event in found}) == 10


def test_the_random_slice_comes_from_conversations_that_no_score_chooses_among(
    engine: Engine, reward: RewardModel
) -> None:
    Desk(engine, reward).ask()
    for row in rows(engine):
        assert is_aside((row.tenant, row.conversation_id), 0.2) == row.random


def test_the_budget_holds_over_refreshes_and_restarts_and_comes_back_after_a_day(
    engine: Engine, reward: RewardModel
) -> None:
    desk = Desk(engine, reward)
    desk.ask()
    first = desk.open()
    again = replace(desk.asking)
    desk.clock.now += HOUR_MS
    again.ask(reward, "rm-1", None, seed=0)
    assert len(desk.open()) == 10
    assert len(rows(engine, lambda row: row.state in ("open", "answered", "expired"))) == 10
    desk.clock.now = NOW + DAY_MS + 2 * HOUR_MS
    desk.ask()
    assert len(desk.open()) == 20
    assert first & {row.completion_id for row in rows(engine, lambda row: row.random)} <= desk.open()


def test_the_same_refresh_done_twice_asks_nothing_twice(engine: Engine, reward: RewardModel) -> None:
    desk = Desk(engine, reward)
    desk.ask()
    before = [row.review_id for row in rows(engine)]
    said = desk.ask()
    assert (said["asked"], said["withdrawn"]) == (0, 0)
    assert [row.review_id for row in rows(engine)] == before


def test_what_is_worth_less_than_others_now_is_taken_back_but_never_the_random_slice(
    engine: Engine, reward: RewardModel
) -> None:
    desk = Desk(engine, reward)
    desk.ask()
    slice_ = {row.review_id for row in rows(engine, lambda row: row.random)}
    desk.asking = replace(desk.asking, settings=replace(desk.asking.settings, acquisition="variance"))
    reward.head.data.neg_().roll(1, 1)
    reward.head.data.copy_(reward.head.data.roll(7, 1) * 3.0)
    said = desk.ask()
    back = rows(engine, lambda row: row.state == "reranked")
    assert said["withdrawn"] == len(back) == said["asked"] > 0
    assert slice_ <= {row.review_id for row in rows(engine, is_open)}
    assert len(desk.open()) == 10


def test_nobody_is_asked_twice_about_what_was_answered_or_ran_out(engine: Engine, reward: RewardModel) -> None:
    desk = Desk(engine, reward)
    desk.ask()
    first = desk.open()
    one = rows(engine)[0]
    store(engine, [ReviewWithdrawn(review_id=one.review_id, reason="answered", created_ms=NOW)])
    desk.clock.now = NOW + 80 * HOUR_MS
    desk.ask()
    assert {row.state for row in rows(engine, lambda row: row.completion_id in first)} == {"answered", "expired"}
    assert len(desk.open()) == 10
    assert not desk.open() & first


def test_comparisons_get_their_share_with_a_second_answer_of_the_policy(engine: Engine, reward: RewardModel) -> None:
    desk = Desk(engine, reward, compare_share=0.5)
    said = desk.ask()
    assert (said["asked"], said["comparisons"]) == (10, 4)
    pairs = [row for row in rows(engine) if row.kind == "compare"]
    assert not any(row.random for row in pairs)
    for row in pairs:
        event = asked(row)
        assert b"good day" not in row.body
        texts = open_review(event.review_id, event.box, desk.ring.of(row.conversation_id))
        assert texts.other_answer == "good day"
    said = desk.ask()
    assert said["asked"] == said["withdrawn"] == said["comparisons"]
    assert (said["open"], len(rows(engine, lambda row: row.state == "open" and row.kind == "compare"))) == (10, 4)


@pytest.mark.parametrize("parrot", [Parrot(finished=False), Parrot(" "), None])
def test_without_a_whole_second_answer_all_are_single_questions(
    engine: Engine, reward: RewardModel, parrot: Parrot | None
) -> None:
    desk = Desk(engine, reward, compare_share=0.5)
    desk.parrot = parrot or desk.parrot
    said = desk.ask(compare=parrot is not None)
    assert (said["asked"], said["comparisons"]) == (10, 0)


def test_an_answer_is_not_compared_with_itself(engine: Engine, reward: RewardModel) -> None:
    desk = Desk(engine, reward, compare_share=1.0)
    desk.parrot.text = "yes no"
    desk.ask()
    pairs = {row.completion_id for row in rows(engine) if row.kind == "compare"}
    assert pairs
    assert "c-8" not in pairs


@pytest.mark.parametrize("acquisition", ["random", "entropy", "variance", "double_thompson", "d_optimal"])
def test_every_acquisition_asks_both_kinds(engine: Engine, reward: RewardModel, acquisition: str) -> None:
    desk = Desk(engine, reward, acquisition=acquisition, compare_share=0.5)
    said = desk.ask()
    assert said["asked"] == 10
    wholly_random = acquisition == "random"
    assert said["random"] == (10 if wholly_random else 2)
    assert said["comparisons"] == (0 if wholly_random else 4)


def test_chats_of_somebody_who_was_erased_are_left_out_and_their_questions_taken_back(
    engine: Engine, reward: RewardModel
) -> None:
    desk = Desk(engine, reward)
    desk.ask()
    one = rows(engine, lambda row: not row.random)[0]
    desk.ring.gone.add(desk.ring.key_id(one.conversation_id))
    desk.ask()
    assert one.completion_id not in desk.open()
    desk.ring.gone.update(desk.ring.key_id(f"conv-{n}") for n in range(60))
    assert desk.ask()["looked_at"] == 0


def test_several_chats_of_one_conversation_are_asked_about_one_at_a_time(engine: Engine, reward: RewardModel) -> None:
    desk = Desk(engine, reward, per_day=200)
    store(engine, [chat(n, f"conv-{n % 5}") for n in range(60, 100)], desk.ring)
    desk.ask()
    assert len(desk.open()) == 60
    assert len({row.conversation_id for row in rows(engine, is_open)}) == 60


def a_chat(number: int, conversation: int) -> Chat:
    return Chat("default", f"v-{conversation}", f"c-{number}", [], "a", None, False, {})


def test_conversations_are_drawn_evenly_however_long_they_are() -> None:
    import numpy as np

    chats = [a_chat(n, 0 if n < 30 else n) for n in range(34)]
    long = sum(draw(chats, 1, np.random.default_rng(n))[0].conversation_id == "v-0" for n in range(500))
    assert 60 <= long <= 145


def test_a_share_of_the_conversations_is_set_aside() -> None:
    aside = [is_aside(("default", f"v-{n}"), 0.2) for n in range(2000)]
    assert 340 <= sum(aside) <= 460
    assert all(is_aside(("default", f"v-{n}"), 0.5) for n in range(2000) if aside[n])


def test_known_answers_get_their_share_again_and_again_and_are_never_taken_back(
    engine: Engine, reward: RewardModel
) -> None:
    desk = Desk(engine, reward, known_share=0.2)
    known = {"c-1": True, "c-2": False, "c-3": False, "unknown": True}
    desk.asking = replace(desk.asking, known=known)
    said = desk.ask()
    assert (said["asked"], said["known"]) == (10, 2)
    first = {row.review_id: row.completion_id for row in rows(engine) if row.completion_id in known}
    assert set(first.values()) == {"c-1", "c-2"}
    assert {asked(row).acquisition for row in rows(engine) if row.completion_id in known} == {"bald"}
    desk.ask()
    assert first.keys() <= {row.review_id for row in rows(engine, is_open)}
    desk.clock.now += 4 * DAY_MS
    desk.ask()
    assert {row.completion_id for row in rows(engine, is_open)} & known.keys() == {"c-1", "c-3"}
