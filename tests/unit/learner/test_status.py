from sqlalchemy import Engine

from tests.learner_fakes import MemoryBus
from thumbwheel.events import LearnerReported, decode
from thumbwheel.types import LearnerStatus
from thumbwheel_learner.status import HEARTBEAT_S, StatusReporter


def reported(bus: MemoryBus) -> list[LearnerStatus]:
    events = [decode(record.value).event for record in bus.events("thumbwheel.learner")]
    return [event.status for event in events if isinstance(event, LearnerReported)]


def test_a_change_is_reported_once_and_a_sign_of_life_follows(engine: Engine) -> None:
    bus, now = MemoryBus(), [0.0]
    reporter = StatusReporter(engine, bus, clock=lambda: now[0])
    assert reporter.send()
    assert not reporter.send()
    reporter.resting("paused", "paused")
    assert reporter.send()
    now[0] = HEARTBEAT_S
    assert reporter.send()
    assert [status.state for status in reported(bus)] == ["idle", "paused", "paused"]


def test_training_is_reported_every_time_with_its_stage(engine: Engine) -> None:
    bus = MemoryBus()
    reporter = StatusReporter(engine, bus)
    reporter.training("run-1", "ppo", 0.5, "iteration 8/16")
    assert reporter.send()
    reporter.training(None, "ppo", 0.75, "iteration 12/16")
    assert reporter.send()
    last = reported(bus)[-1]
    assert (last.state, last.stage, last.progress, last.run_id) == ("training", "ppo", 0.75, "run-1")


def test_a_bus_that_is_away_costs_nothing_and_hears_it_later(engine: Engine) -> None:
    bus = MemoryBus()
    reporter = StatusReporter(engine, bus)
    bus.down = True
    assert not reporter.send()
    bus.down = False
    assert reporter.send()


def test_trouble_is_shown_beside_the_detail_until_it_is_over(engine: Engine) -> None:
    reporter = StatusReporter(engine, MemoryBus())
    reporter.resting("idle", "3 new labels")
    reporter.trouble("newer_schema: upgrade")
    assert reporter.status().detail == "3 new labels; newer_schema: upgrade"
    reporter.trouble("")
    assert reporter.status().detail == "3 new labels"
