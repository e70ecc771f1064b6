"""From a refreshed reward model to a question that a person answers, and back into the snapshot, over HTTP."""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlmodel import select
from tests.contract.bus.live_service import LiveService
from tests.databases import learner_store
from tests.fake_engine import FakeEngine, served_from
from tests.learner_models import make_base, one_thread_inside_operations

from thumbwheel import Client, Conflict
from thumbwheel.artifact import signing_key
from thumbwheel.bus import EventBus
from thumbwheel.bus.connect import connect_bus
from thumbwheel.events import ReviewAsked, decode
from thumbwheel.types import Review
from thumbwheel_learner.consume import Consumer
from thumbwheel_learner.dataset.examples import Snapshot
from thumbwheel_learner.dataset.freeze import freeze
from thumbwheel_learner.dataset.keys import ServiceKeys
from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.progress import silent
from thumbwheel_learner.questions.ask import Asking
from thumbwheel_learner.questions.board import QuestionBoard
from thumbwheel_learner.questions.settings import QuestionSettings
from thumbwheel_learner.reward.config import RewardConfig
from thumbwheel_learner.rollouts.served import ServiceRollouts, service_http
from thumbwheel_learner.runs.plan import recipe_of
from thumbwheel_learner.runs.run import Runner, RunPlan
from thumbwheel_learner.runs.settings import Training
from thumbwheel_learner.runs.stage import Parent
from thumbwheel_learner.runs.stages import Workshop
from thumbwheel_learner.store.session import reading
from thumbwheel_learner.store.tables import QuestionRow, RunRow
from thumbwheel_service.app import create_app
from thumbwheel_service.settings import Settings

CHATS = 40
GOOD = ("yes please", "thanks yes", "good order", "please good")
BAD = ("rude no", "no late", "bad rude", "late bad")


class Wheel:
    """A live service over the embedded bus, and a learner beside it without its process."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        base = make_base(folder / "base")
        answers = itertools.cycle(GOOD + BAD)
        engine = FakeEngine(says=lambda _: next(answers), info=served_from(base))
        self.service = LiveService(folder / "data", lambda data: create_app(Settings(data=data), engine))
        (folder / "data").mkdir()
        self.service.start()
        stack.callback(self.service.stop)
        self.client = stack.enter_context(Client(self.service.url, api_key=self.service.key))
        self.engine: Engine = stack.enter_context(learner_store(folder / "learner.db"))
        self.bus: EventBus = stack.enter_context(
            connect_bus("embedded", url=self.service.url, api_key=self.service.key)
        )
        self.http = stack.enter_context(service_http(self.service.url, self.service.key))
        self.keys = ServiceKeys(self.http)
        self.data = folder / "learner"
        self.board = QuestionBoard(self.engine, self.bus)
        self.runner = self._runner(folder, base)

    def _runner(self, folder: Path, base: Path) -> Runner:
        model, nothing = load_policy(base), Any
        recipe = recipe_of(Training(judge_share=0.4))
        reward = RewardConfig(members=2, rank=2, epochs=1, likelihood=False)
        settings = QuestionSettings(per_day=8, random_share=0.2, acquisition="bald", compare_share=0.5)
        workshop = Workshop(
            engine=self.engine,
            data=self.data,
            base="f" * 64,
            model=lambda: model,
            rollouts=lambda _: _Closing(
                ServiceRollouts(
                    self.http,
                    store=folder / "data" / "artifacts",
                    key=signing_key(folder / "data" / "signing.key"),
                    base_model="f" * 64,
                )
            ),
            publisher=nothing,  # type: ignore[arg-type]
            recipe=replace(recipe, reward=reward),
            asking=Asking(engine=self.engine, keys=self.keys, settings=settings),
        )
        plan = RunPlan(data=self.data, base="f" * 64, min_labels=5, max_prompts=100, keys=self.keys)
        live = Parent("base", None)
        return Runner(self.engine, plan, workshop.stages(), live=lambda: live, progress=silent)

    def chat(self, number: int) -> None:
        done = self.client.chat("where is my order", user=f"user-{number}", conversation_id=f"conv-{number}")
        value = "up" if done.text in GOOD else "down"
        self.client.feedback.thumb(done.completion_id, value, user=f"user-{number}")

    def read(self, happened: Callable[[], object]) -> None:
        """Read the bus until that is so."""
        consumer, deadline = Consumer(self.engine, self.bus), time.monotonic() + 60
        while not happened():
            assert time.monotonic() < deadline, "it did not happen in time"
            consumer.step(0.2)
        consumer.close()

    def refresh(self) -> RunRow:
        return self.runner.start(trigger="now", stages=("reward",))

    def listed(self, count: int) -> list[Review]:
        deadline = time.monotonic() + 30
        while len(found := list(self.client.reviews.list(page_size=3))) != count:
            assert time.monotonic() < deadline, f"{len(found)} questions"
            time.sleep(0.02)
        return found

    def listed_as_the_learner_has_them(self) -> list[Review]:
        """Not those of before a refresh, of which there may be as many."""
        wanted = {review_id for review_id, row in self.rows().items() if row.state == "open"}
        deadline = time.monotonic() + 30
        found: list[Review] = []
        while {review.review_id for review in found} != wanted:
            assert time.monotonic() < deadline, f"{len(found)} questions, not those of the learner"
            time.sleep(0.02)
            found = list(self.client.reviews.list(page_size=3))
        return found

    def rows(self) -> dict[str, QuestionRow]:
        with reading(self.engine) as session:
            return {row.review_id: row for row in session.exec(select(QuestionRow))}

    def state(self, review_id: str) -> str | None:
        row = self.rows().get(review_id)
        return None if row is None else row.state

    def snapshot(self) -> Snapshot:
        return freeze(self.engine, self.data, self.keys).snapshot


class _Closing:
    def __init__(self, rollouts: ServiceRollouts) -> None:
        self._rollouts = rollouts

    def __enter__(self) -> ServiceRollouts:
        return self._rollouts

    def __exit__(self, *_: object) -> None:
        self._rollouts.close()


@pytest.fixture
def wheel(tmp_path: Path) -> Iterator[Wheel]:
    with one_thread_inside_operations(), ExitStack() as stack:
        yield Wheel(tmp_path, stack)


def test_the_path_from_a_refresh_to_an_answer_and_back(wheel: Wheel) -> None:
    for number in range(CHATS):
        wheel.chat(number)
    wheel.read(lambda: len(wheel.snapshot().judged) == CHATS)

    # a refresh asks, within the budget and with both kinds
    run = wheel.refresh()
    assert run.state == "halted", run.reason
    assert wheel.board.apply() == 8
    reviews = wheel.listed(8)
    assert {review.kind for review in reviews} == {"judge", "compare"}
    assert len({review.conversation_id for review in reviews}) == 8
    assert sum(review.random for review in reviews) == 2
    assert all(review.messages == [{"role": "user", "content": "where is my order"}] for review in reviews)

    # people answer: a thumb on the random slice, a correction, a preference
    drawn = next(review for review in reviews if review.random)
    single = next(review for review in reviews if review.kind == "judge" and not review.random)
    pair = next(review for review in reviews if review.kind == "compare")
    assert pair.other_answer == "base"
    wheel.client.reviews.answer(drawn.review_id, "down", user="agent")
    wheel.client.reviews.answer(single.review_id, correction="sorry please", user="agent")
    wheel.client.reviews.answer(pair.review_id, "other", user="agent")
    with pytest.raises(Conflict, match="already"):
        wheel.client.reviews.answer(drawn.review_id, "up")
    wheel.listed(5)

    # the learner hears of it and marks what it learns from
    wheel.read(lambda: [wheel.state(r.review_id) for r in (drawn, single, pair)] == ["answered"] * 3)
    wheel.read(lambda: len(wheel.snapshot().judged) == CHATS + 1)
    snapshot = wheel.snapshot()
    (judged,) = [label for label in snapshot.judged if label.review_id is not None]
    assert (judged.review_id, judged.random_slice, judged.value, judged.user) == (drawn.review_id, True, 0.0, "agent")
    pairs = {label.review_id: label for label in snapshot.pairs}
    assert (pairs[pair.review_id].chosen, pairs[pair.review_id].random_slice) == ("base", False)
    assert pairs[single.review_id].chosen == "sorry please"
    assert [label.review_id for label in snapshot.demos] == [single.review_id]

    # another refresh keeps to the budget; nobody is asked again what was answered
    wheel.refresh()
    wheel.board.apply()
    wheel.read(lambda: all(row.told for row in wheel.rows().values() if row.state == "open"))
    left = wheel.listed_as_the_learner_has_them()
    assert len(left) == 5
    answered = {drawn.completion_id, single.completion_id, pair.completion_id}
    assert not answered & {review.completion_id for review in left}

    # somebody is erased: their question goes, and the bus keeps no word of it
    gone = left[0]
    wheel.client.erasures.user(f"user-{gone.conversation_id.removeprefix('conv-')}")
    wheel.listed(4)
    wheel.read(lambda: wheel.state(gone.review_id) == "erased")
    wheel.board.apply()
    assert wheel.state(gone.review_id) is None
    consumer = wheel.bus.consumer(["thumbwheel.reviews"], group=None, start=lambda _: 0)
    events = [decode(record.value).event for record in consumer.poll(5)]
    consumer.close()
    assert gone.review_id not in {event.review_id for event in events if isinstance(event, ReviewAsked)}
    wheel.listed(4)
