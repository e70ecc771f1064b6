from collections.abc import Callable

import pytest
from sqlalchemy import Engine
from tests.learner_events import feedback, turn
from tests.learner_fakes import MemoryBus

from thumbwheel.events import LearnerCommand, PolicyRejected, PolicyRouted, now_ms, wrap
from thumbwheel_learner.consume import Consumer
from thumbwheel_learner.metrics import Metrics
from thumbwheel_learner.runs.run import RunInterrupted, Stopped
from thumbwheel_learner.runs.schedule import ARRIVAL_MS, PATIENCE_MS, SKIPPED_MS, Schedule, Triggers
from thumbwheel_learner.status import StatusReporter
from thumbwheel_learner.store.runs import open_run, unfinished_runs, update_run
from thumbwheel_learner.store.tables import RunRow

NOW = now_ms()


class FakeRuns:
    """Remembers what it was asked for; each run is over at once, in the given state."""

    def __init__(self, engine: Engine, clock: Callable[[], int]) -> None:
        self.engine = engine
        self.clock = clock
        self.started: list[tuple[str, tuple[str, ...]]] = []
        self.resumed = 0
        self.error: Exception | None = None
        self.outcome: dict[str, object] = {"state": "rejected", "reason": "no better"}

    def start(self, *, trigger: str, stages: tuple[str, ...]) -> RunRow:
        run = RunRow(
            run_id=f"run-{len(self.started)}", state="running", stage="snapshot", stages=",".join(stages),
            trigger=trigger, parent="base", base="f", frozen_ms=2**50, started_ms=self.clock(),
        )  # fmt: skip
        self.started.append((trigger, stages))
        open_run(self.engine, run)
        return self.finish(run.run_id)

    def resume(self) -> RunRow | None:
        self.resumed += 1
        return self.finish(unfinished_runs(self.engine)[0].run_id)

    def finish(self, run_id: str) -> RunRow:
        if self.error is not None:
            raise self.error
        return update_run(self.engine, run_id, finished_ms=self.clock(), **self.outcome)


class World:
    """A schedule with everything around it in hand."""

    def __init__(self, engine: Engine, *, waits_for_route: bool = True, **triggers: object) -> None:
        self.now = NOW
        self.bus = MemoryBus()
        self.consumer = Consumer(engine, self.bus)
        self.runs = FakeRuns(engine, lambda: self.now)
        self.reporter = StatusReporter(engine, self.bus)
        self.caught_up = NOW
        self.schedule = Schedule(
            engine,
            self.runs,
            Triggers(**{"stages": ("reward", "sft", "ppo"), "every_s": 0, "after_labels": 0, **triggers}),
            reporter=self.reporter,
            metrics=Metrics(),
            report_every_s=60,
            waits_for_route=waits_for_route,
            caught_up_ms=lambda: self.caught_up,
            clock=lambda: self.now,
        )

    def happens(self, *events: object) -> None:
        for event in events:
            self.bus.publish(wrap(event))
        while self.consumer.step(0.0):
            pass

    def command(self, word: str, *stages: str) -> None:
        self.happens(LearnerCommand(command=word, stages=list(stages), created_ms=self.now))
        self.now += ARRIVAL_MS
        self.caught_up = self.now

    def labels(self, count: int, first: int = 0) -> None:
        self.happens(*(event for n in range(first, first + count) for event in (turn(n), feedback(n))))

    def says(self) -> tuple[str, str]:
        status = self.reporter.status()
        return status.state, status.detail


def test_nothing_happens_by_itself(engine: Engine) -> None:
    world = World(engine)
    world.labels(5)
    assert world.schedule.look() is None
    assert world.runs.started == []
    assert world.says() == ("idle", "5 new labels")


def test_a_demand_starts_one_run_of_the_stages_it_names(engine: Engine) -> None:
    world = World(engine)
    world.command("now", "ppo", "sft")
    world.command("now", "ppo", "reward")
    row = world.schedule.look()
    assert row is not None
    assert world.runs.started == [("now", ("reward", "ppo"))]
    assert world.schedule.look() is None
    assert world.says() == ("idle", "0 new labels")
    status = world.reporter.status()
    assert (status.last_run["outcome"], status.last_run["reason"]) == ("rejected", "no better")


def test_a_demand_waits_until_the_labels_before_it_are_stored(engine: Engine) -> None:
    world = World(engine)
    world.command("now")
    world.caught_up = NOW
    assert world.schedule.look() is None
    world.now += PATIENCE_MS
    assert world.schedule.look() is not None


def test_enough_new_labels_start_a_run_and_count_from_there(engine: Engine) -> None:
    world = World(engine, after_labels=3)
    world.labels(2)
    assert world.schedule.look() is None
    assert world.says() == ("idle", "2 new labels, a run starts at 3")
    world.labels(1, first=2)
    assert world.schedule.look() is not None
    assert world.schedule.look() is None
    assert [trigger for trigger, _ in world.runs.started] == ["labels"]


def test_without_the_least_evidence_only_a_person_can_start_a_run(engine: Engine) -> None:
    world = World(engine, after_labels=2, min_labels=4)
    world.labels(3)
    assert world.schedule.look() is None
    assert world.says() == ("idle", "3 labels so far, a run needs 4")
    world.command("now")
    assert world.schedule.look() is not None


def test_a_run_that_lacked_evidence_is_not_started_over_and_over(engine: Engine) -> None:
    world = World(engine, after_labels=2)
    world.runs.outcome = {"state": "skipped", "reason": "too little"}
    world.labels(3)
    assert world.schedule.look() is not None
    assert world.schedule.look() is None
    world.now += SKIPPED_MS
    assert world.schedule.look() is not None


def test_the_clock_starts_a_run_only_when_a_label_is_new(engine: Engine) -> None:
    world = World(engine)
    world.schedule._interval_due.set()
    assert world.schedule.look() is None
    world.labels(1)
    assert world.schedule.look() is None
    world.schedule._interval_due.set()
    assert world.schedule.look() is not None
    assert world.runs.started == [("interval", ("reward", "sft", "ppo"))]


def test_nothing_starts_before_the_store_has_followed_the_bus(engine: Engine) -> None:
    world = World(engine)
    world.command("now")
    world.caught_up = NOW - 1
    assert world.schedule.look() is None
    assert world.says() == ("idle", "starting")


def test_a_pause_outlives_a_restart_and_keeps_demands_for_the_resume(engine: Engine) -> None:
    world = World(engine)
    world.command("pause")
    world.command("now")
    assert world.schedule.look() is None
    assert world.says() == ("paused", "paused; a run waits for resume")
    again = World(engine)
    again.caught_up = 2**60
    assert again.schedule.look() is None
    world.command("resume")
    again.now = world.now
    assert again.schedule.look() is not None


def test_a_run_left_open_is_resumed_even_while_paused(engine: Engine) -> None:
    world = World(engine)
    world.command("now")
    world.runs.error = Stopped("please")
    assert world.schedule.look() is None
    assert world.says()[0] == "stopped"
    world.command("pause")
    world.runs.error = None
    assert world.schedule.look() is not None
    assert (world.runs.resumed, len(world.runs.started)) == (1, 1)


def test_an_interrupted_run_is_tried_again_later(engine: Engine) -> None:
    world = World(engine, retry_s=30)
    world.command("now")
    world.runs.error = RunInterrupted("the service is away")
    assert world.schedule.look() is None
    assert world.says() == ("idle", "waiting to resume: the service is away")
    world.runs.error = None
    world.now += 29_000
    assert world.schedule.look() is None
    world.now += 2_000
    assert world.schedule.look() is not None
    assert world.runs.resumed == 1


@pytest.mark.parametrize("answer", ["routed", "rejected", "silence", "manual"])
def test_the_next_run_waits_until_the_service_has_followed_the_last_version(engine: Engine, answer: str) -> None:
    world = World(engine, settle_s=120, waits_for_route=answer != "manual")
    world.runs.outcome = {"state": "published", "version": "v1-a"}
    world.command("now")
    assert world.schedule.look() is not None
    world.command("now")
    if answer != "manual":
        assert world.schedule.look() is None
        assert "waits until the service" in world.says()[1]
    if answer == "routed":
        world.happens(PolicyRouted(version="v1-a", previous="base", epoch=1, reason="", seconds=0.1, created_ms=1))
    elif answer == "rejected":
        world.happens(PolicyRejected(version="v1-a", reason="rank", created_ms=1))
    elif answer == "silence":
        world.now += 121_000
    assert world.schedule.look() is not None


def test_started_and_stopped_it_runs_by_itself(engine: Engine) -> None:
    world = World(engine)
    world.command("now")
    done: list[bool] = []
    finish = world.runs.finish

    def noted(run_id: str) -> RunRow:
        row = finish(run_id)
        done.append(True)
        return row

    world.runs.finish = noted
    world.schedule.start()
    for _ in range(500):
        if done:
            break
        import time

        time.sleep(0.01)
    world.schedule.stop()
    assert done == [True]
    assert len(world.bus.events("thumbwheel.learner")) >= 1
