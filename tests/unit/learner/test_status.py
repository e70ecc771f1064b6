from sqlalchemy import Engine
from tests.learner_fakes import MemoryBus

from thumbwheel.bus import TopicPartition
from thumbwheel.events import LearnerReported, decode
from thumbwheel.types import LearnerStatus, StoredOffsets
from thumbwheel_learner.status import HEARTBEAT_S, StatusReporter, run_figures
from thumbwheel_learner.store.ingest import move_offset
from thumbwheel_learner.store.runs import open_run
from thumbwheel_learner.store.session import writing
from thumbwheel_learner.store.tables import RunRow


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
    going_on = RunRow(
        run_id="run-1", state="running", stage="ppo", stages="ppo", trigger="now", parent="base", base="f", frozen_ms=1,
        started_ms=1,
    )  # fmt: skip
    open_run(engine, going_on)
    reporter.training("ppo", 0.5, "iteration 8/16")
    assert reporter.send()
    reporter.training("ppo", 0.75, "iteration 12/16")
    assert reporter.send()
    last = reported(bus)[-1]
    assert (last.state, last.stage, last.progress, last.run_id) == ("training", "ppo", 0.75, "run-1")


def test_how_far_the_bus_is_stored_goes_with_the_next_report_and_makes_none(engine: Engine) -> None:
    bus, now = MemoryBus(), [0.0]
    reporter = StatusReporter(engine, bus, reads="kafka", clock=lambda: now[0])
    assert reporter.send()
    with writing(engine) as session:
        move_offset(session, TopicPartition("thumbwheel.turns", 3), expected=0, reached=7)
    assert not reporter.send()
    now[0] = HEARTBEAT_S
    assert reporter.send()
    said = [status.stored for status in reported(bus)]
    assert said == [StoredOffsets("kafka", {}), StoredOffsets("kafka", {"thumbwheel.turns/3": 7})]


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


def test_the_long_history_of_a_run_is_left_to_the_manifest() -> None:
    run = RunRow(
        run_id="r", state="published", stage="publish", stages="ppo", trigger="now", parent="base", base="f",
        frozen_ms=1, started_ms=1000, finished_ms=3500, detail='{"ppo":{"kl":1.5,"history":[{"kl":1}]}}',
    )  # fmt: skip
    figures = run_figures(run)
    assert (figures["outcome"], figures["seconds"]) == ("published", 2.5)
    assert figures["stages"] == {"ppo": {"kl": 1.5}}
