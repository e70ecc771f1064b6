import io
from collections.abc import Callable

import pytest
from rich.console import Console

from thumbwheel_demo.report.record import Report
from thumbwheel_demo.run.demo import Demo
from thumbwheel_demo.run.options import DemoOptions
from thumbwheel_demo.run.wheel import LearnerSilent, Outcome, Wheel

from .fake_desk import FakeDesk


def _options(tmp_path, **changes) -> DemoOptions:
    values = {"turns": 2, "chats": (30,), "heldout": 10, "answers": 2, "background": 20.0, "out": tmp_path / "out"}
    return DemoOptions(**{**values, **changes})


async def _run(desk: FakeDesk, options: DemoOptions):
    printed = io.StringIO()
    report = await Demo(options, Console(file=printed, width=200), desk).run()
    return report, printed.getvalue()


async def test_a_run_measures_the_base_and_every_version_on_the_same_prompts(tmp_path):
    desk = FakeDesk(["pol-1", "pol-2"])
    report, printed = await _run(desk, _options(tmp_path))
    assert [v.version for v in report.versions] == ["base", "pol-1", "pol-2"]
    assert [set(v) for v in report.prompts.values()] == [set(report.prompts["base"])] * 3
    assert all(v.prompts == 10 and v.answers == 20 for v in report.versions)
    assert [v.kl for v in report.versions] == [0.0, 1.5, 1.5]
    assert [(s.previous, s.version, s.seconds) for s in report.swaps] == [
        ("base", "pol-1", 0.125),
        ("pol-1", "pol-2", 0.125),
    ]
    assert "swapped to pol-2" in printed
    assert desk.opened == desk.closed == 1


async def test_a_version_that_always_says_the_same_is_as_little_diverse_as_can_be(tmp_path):
    report, _ = await _run(FakeDesk(["pol-1"], {"pol-1": "I will look at it."}), _options(tmp_path, turns=1))
    last = report.versions[-1]
    assert last.distinct_answers is not None
    assert last.distinct_bigrams is not None
    assert last.distinct_answers.mean == last.distinct_bigrams.mean == 0.5
    assert set(report.distinct_answers["pol-1"].values()) == {0.5}
    assert report.distinct_bigrams.keys() == report.distinct_good_bigrams.keys() == report.prompts.keys()
    assert report.distinct_good_bigrams["pol-1"] == report.distinct_good_answers["pol-1"] == {}, "it satisfies nobody"


async def test_held_out_prompts_leave_no_trace_and_pin_their_version(tmp_path):
    desk = FakeDesk(["pol-1"])
    await _run(desk, _options(tmp_path, turns=1))
    examined = [chat for chat in desk.chats if chat.get("store") is False]
    assert {chat["model"] for chat in examined} == {"base", "pol-1"}
    assert len(examined) == 2 * 20
    assert all(chat.get("temperature") == 1.0 for chat in desk.chats)
    said = {str(chat["messages"]) for chat in desk.chats if chat.get("store", True)}
    assert not said & {str(chat["messages"]) for chat in examined}


async def test_every_chat_is_counted_and_none_of_the_fake_is_lost(tmp_path):
    desk = FakeDesk(["pol-1"])
    report, _ = await _run(desk, _options(tmp_path, turns=1))
    assert report.chats.total == len(desk.chats)
    assert report.chats.lost == report.chats.truncated == 0
    assert 0 < report.chats.streamed < report.chats.total
    assert sum(report.feedback.values()) == len(desk.feedback) > 0
    assert sum(sum(tick.chats.values()) for tick in report.timeline) == report.chats.total


@pytest.mark.parametrize(
    ("stage", "progress", "near"), [("ppo", 0.9, False), ("gate", 0.5, False), ("gate", 0.9, True)]
)
async def test_people_rush_in_when_a_verdict_is_near(stage, progress, near):
    desk, rushed = FakeDesk(["pol-1"]), []
    desk.stage, desk.progress = stage, progress
    outcome = await _learn(desk, patience_s=5.0, rush=rushed.append)
    assert outcome.swap is not None
    assert rushed == ([True, False] if near else [False])


async def test_a_run_may_take_its_time_as_long_as_there_is_news_of_it():
    slow = FakeDesk(["pol-1"])
    slow.looks, slow.progress, slow.step = 4, 0.1, 0.1
    outcome = await _learn(slow, patience_s=0.8)
    assert outcome.swap is not None


async def test_a_learner_that_says_nothing_new_is_not_waited_for():
    stuck = FakeDesk(["pol-1"])
    stuck.looks = 100
    with pytest.raises(LearnerSilent, match="nothing new for 1 s; its last word: busy"):
        await _learn(stuck, patience_s=0.8)


async def _learn(desk: FakeDesk, *, patience_s: float, rush: Callable[[bool], None] = lambda _: None) -> Outcome:
    async with desk.client() as client:
        wheel = Wheel(
            client,
            seconds=lambda: 0.0,
            in_flight=lambda: 0,
            rush=rush,
            now=lambda _: None,
            check=desk.check,
            patience_s=patience_s,
        )
        return await wheel.learn(1, ())


async def test_a_rejected_candidate_is_reported_and_the_wheel_turns_on(tmp_path):
    desk = FakeDesk([None, "pol-2"])
    report, printed = await _run(desk, _options(tmp_path))
    assert [(gate.accepted, gate.reason) for gate in report.gates] == [(False, "does not win"), (True, "wins 70%")]
    assert [v.version for v in report.versions] == ["base", "pol-2"]
    assert "nothing shipped in turn 1: does not win" in printed


async def test_a_version_the_service_will_not_load_is_not_called_shipped(tmp_path):
    desk = FakeDesk(["pol-1"])
    desk.rejected_by_service.add("pol-1")
    report, _ = await _run(desk, _options(tmp_path, turns=1))
    assert not report.gates[0].accepted
    assert "wrong rank" in report.gates[0].reason
    assert report.swaps == []


async def test_chats_go_on_while_the_learner_works(tmp_path):
    desk = FakeDesk(["pol-1"])
    await _run(desk, _options(tmp_path, turns=1, chats=(5,)))
    live = [chat for chat in desk.chats if chat.get("store", True)]
    assert len(live) > 5


async def test_the_stages_reach_the_learner(tmp_path):
    desk = FakeDesk(["pol-1"])
    await _run(desk, _options(tmp_path, turns=1, stages=("reward", "ppo")))
    assert desk.commands == [{"command": "now", "stages": ["reward", "ppo"]}]


async def test_a_deaf_learner_is_named_with_its_last_word(tmp_path, monkeypatch):
    monkeypatch.setattr("thumbwheel_demo.run.wheel.BEGIN_S", 0.2)
    desk = FakeDesk(["pol-1"])
    desk.deaf = True
    with pytest.raises(LearnerSilent, match="waiting for labels"):
        await _run(desk, _options(tmp_path, turns=1))
    assert desk.closed == 1


async def test_what_earlier_turns_found_is_kept_when_a_later_one_fails(tmp_path):
    kept: list[Report] = []
    desk, console = FakeDesk(["pol-1"]), Console(file=io.StringIO(), width=200)

    def keep(report: Report) -> None:
        kept.append(report)
        desk.gone = RuntimeError("the learner ended")

    with pytest.raises(RuntimeError):
        await Demo(_options(tmp_path), console, desk, keep=keep).run()
    [report] = kept
    assert [gate.accepted for gate in report.gates] == [True]
    assert [v.version for v in report.versions] == ["base", "pol-1"]


async def test_dead_processes_end_the_run_and_everything_is_closed(tmp_path):
    desk = FakeDesk(["pol-1"])
    desk.gone = RuntimeError("service and learner ended with status 1")
    with pytest.raises(RuntimeError, match="ended with status 1"):
        await _run(desk, _options(tmp_path, turns=1))
    assert desk.closed == 1


async def test_reward_model_figures_are_numbers_with_intervals_beside(tmp_path):
    report, _ = await _run(FakeDesk(["pol-1"]), _options(tmp_path, turns=1))
    assert report.reward_model == {"accuracy": 0.8, "accuracy_interval": [0.7, 0.9], "auc": 0.9, "ece": 0.05}


async def test_examples_are_the_first_prompts_whatever_came_of_them(tmp_path):
    kind = "Thank you for asking, I am happy to help with that."
    report, _ = await _run(FakeDesk(["pol-1"], {"pol-1": kind}), _options(tmp_path, turns=1))
    assert [(e.before.text, e.after.text) for e in report.examples] == [("Go away.", kind)] * 3
    assert [e.after.version for e in report.examples] == ["pol-1"] * 3
