import pytest

from thumbwheel_demo.corpus import prompts
from thumbwheel_demo.people import Chat
from thumbwheel_demo.run.background import live_scenarios
from thumbwheel_demo.run.options import BadOption, DemoOptions, parse_chats, parse_stages
from thumbwheel_demo.run.tally import Tally
from thumbwheel_demo.satisfaction import judge

SCENARIO = prompts("live", 1, 1)[0]


def _chat(**changes) -> Chat:
    text = changes.pop("text", "Thank you, all done.")
    values = {"text": text, "policy_version": "base", "finish_reason": "stop", "verdict": judge(SCENARIO, text)}
    return Chat(SCENARIO, **{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"noise": 1.5}, "--noise"),
        ({"votes": -0.1}, "--votes"),
        ({"corrections": 2}, "--corrections"),
        ({"turns": 0}, "--turns"),
        ({"chats": ()}, "--chats"),
        ({"chats": (5, 0)}, "--chats"),
        ({"heldout": 3}, "--heldout"),
        ({"background": 100.0}, "--background"),
        ({"rush": -1.0}, "--rush"),
        ({"settings": {"SEED": "1"}}, "--set"),
    ],
)
def test_an_impossible_option_is_named(changes, named):
    with pytest.raises(BadOption, match=named):
        DemoOptions(**changes)


def test_chats_are_counted_turn_by_turn_and_the_last_number_stays():
    options = DemoOptions(chats=parse_chats("600,2000"), turns=3)
    assert [options.chats_of(turn) for turn in (1, 2, 3)] == [600, 2000, 2000]
    assert DemoOptions(chats=parse_chats("40")).chats_of(2) == 40
    with pytest.raises(BadOption, match="'many'"):
        parse_chats("many")


def test_stages_are_all_or_some():
    assert parse_stages("all") == ()
    assert parse_stages("reward, ppo") == ("reward", "ppo")
    with pytest.raises(BadOption, match="'rlhf'"):
        parse_stages("sft,rlhf")


def test_a_refused_chat_is_lost_and_a_broken_stream_is_truncated():
    tally = Tally()
    tally.add(_chat())
    tally.add(_chat(verdict=None, error="ConnectionFailed: refused"))
    tally.add(_chat(verdict=None, error="StreamBroken: before [DONE]"))
    tally.add(_chat(finish_reason=None))
    tally.add(_chat(finish_reason="abort"))
    tally.add(_chat(finish_reason="length", streamed=True))
    counts = tally.counts()
    assert (counts.total, counts.lost, counts.truncated) == (6, 1, 3)
    assert (counts.to_length, counts.streamed) == (1, 1)
    assert counts.errors == {"ConnectionFailed": 1, "StreamBroken": 1}
    assert counts.first_errors["ConnectionFailed"].endswith("s: ConnectionFailed: refused")


def test_refused_feedback_is_an_error_but_no_lost_chat():
    tally = Tally()
    chats = [_chat(vote="up"), _chat(vote="down", correction="Sorry."), _chat(error="ServerError: disk full")]
    for chat in chats:
        tally.add(chat)
    tally.add_feedback(chats)
    assert tally.counts().lost == 0
    assert tally.counts().errors == {"feedback ServerError": 1}
    assert tally.feedback() == {"thumb up": 1, "thumb down": 1, "correction": 1}
    assert tally.labels == 3


def test_the_timeline_has_no_gaps():
    now = [0.0]
    tally = Tally(lambda: now[0])
    tally.add(_chat())
    now[0] = 12.0
    tally.add(_chat(policy_version="pol-1"))
    assert [(t.at_s, t.chats) for t in tally.timeline()] == [(0.0, {"base": 1}), (5.0, {}), (10.0, {"pol-1": 1})]


def test_live_customers_never_run_out_and_never_repeat():
    source = live_scenarios(1)
    first = [next(source) for _ in range(1200)]
    assert len({s.id for s in first}) == 1200
    assert {s.split for s in first} == {"live"}
