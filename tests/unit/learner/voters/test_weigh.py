import json
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from tests.learner_models import demo, pair, snapshot, thumb

from thumbwheel_learner.voters.__main__ import main
from thumbwheel_learner.voters.votes import item_key
from thumbwheel_learner.voters.weigh import BY_OPERATOR, VotersConfig, Weighing, weigh, without_held

from .votes_made import Desk, crowd, fair

ON = VotersConfig(weigh=True)


def liar(kind: str) -> float:
    return 1.0 - fair(kind)


def pusher(kind: str) -> float:
    return 1.0 if kind == "promise" else fair(kind)


def quarantined(found: Weighing) -> set[str]:
    return {held.user for held in found.held}


@pytest.fixture(scope="module")
def attacked() -> Desk:
    """150 honest people, 15 of them fond of promises, and 8 colluders who vote ten times as often and push them."""
    desk = Desk(1)
    crowd(desk, 135)
    for n in range(15):
        desk.vote(f"minority-{n}", lambda kind: 0.85 if kind == "promise" else fair(kind), desk.rng.randint(1, 11))
    for n in range(8):
        desk.vote(f"colluder-{n}", pusher, 60, kinds="promise good rude")
    return desk


def test_colluders_are_held_and_a_minority_taste_is_not(attacked: Desk) -> None:
    found = weigh(attacked.judged, [], ON)
    assert quarantined(found) == {f"colluder-{n}" for n in range(8)}
    assert all(found.of(f"colluder-{n}") == 0.0 for n in range(8))
    assert all(found.of(f"minority-{n}") > 0.3 for n in range(15))
    reason = found.held[0].reason
    assert "other loud users" in reason
    assert "voucher" in reason or "free" in reason


def test_open_liars_are_held_though_they_do_not_shout() -> None:
    desk = Desk(2)
    crowd(desk, votes=20)
    for n in range(6):
        desk.vote(f"liar-{n}", liar, 60)
    found = weigh(desk.judged, [], ON)
    assert quarantined(found) == {f"liar-{n}" for n in range(6)}
    assert all("votes against what others say" in held.reason for held in found.held)


def test_a_flood_of_random_votes_is_held_and_a_busy_honest_voter_is_only_capped() -> None:
    desk = Desk(3)
    crowd(desk)
    desk.vote("bot", lambda _: 0.5, 300)
    desk.vote("busy", fair, 300)
    found = weigh(desk.judged, [], ON)
    assert quarantined(found) == {"bot"}
    assert "times the typical user's" in found.held[0].reason
    typical = 6
    assert 0 < found.of("busy") * 300 <= 3.0 * (typical + 1)


def test_honest_people_are_left_alone() -> None:
    held, people = 0, 0
    for seed in range(5):
        desk = Desk(100 + seed)
        crowd(desk)
        found = weigh(desk.judged, [], ON)
        held, people = held + len(found.held), people + 150
        assert found.weighed
        assert sum(found.weights.values()) / len(found.weights) > 0.8
    assert held <= 0.01 * people


def test_random_voters_weigh_little_and_are_not_accused() -> None:
    desk = Desk(4)
    crowd(desk, votes=15)
    for n in range(20):
        desk.vote(f"random-{n}", lambda _: 0.5, 40)
    found = weigh(desk.judged, [], ON)
    assert quarantined(found) == set()
    honest = sum(found.of(f"honest-{n}") for n in range(150)) / 150
    assert sum(found.of(f"random-{n}") for n in range(20)) / 20 < honest - 0.4


def test_with_few_labels_nothing_happens(attacked: Desk) -> None:
    for judged in (attacked.judged[:150], [j for j in attacked.judged if j.user.startswith("colluder")]):
        found = weigh(judged, [], ON)
        assert not found.weighed
        assert set(found.weights.values()) == {1.0}
        assert found.held == []
    assert weigh([], [], ON) == ({}, [], False)


def test_switched_off_only_the_operators_word_holds(attacked: Desk) -> None:
    found = weigh(attacked.judged, [], VotersConfig(held=("honest-3",)))
    assert [(h.user, h.reason) for h in found.held] == [("honest-3", BY_OPERATOR)]
    assert found.of("honest-3") == 0.0
    assert found.of("colluder-0") == 1.0


def test_an_operators_word_wins_both_ways(attacked: Desk) -> None:
    found = weigh(attacked.judged, [], VotersConfig(weigh=True, released=("colluder-2",), held=("honest-3", "nobody")))
    assert found.of("colluder-2") == 1.0
    assert found.of("honest-3") == found.of("nobody") == 0.0
    assert quarantined(found) == {"honest-3", "nobody"} | {f"colluder-{n}" for n in range(8) if n != 2}


def test_known_answers_convict_who_gets_them_wrong() -> None:
    desk = Desk(5)
    crowd(desk)
    start = len(desk.judged)
    desk.vote("wrong", liar, 50)
    known = {item_key(j): "thank you" in j.answer for j in desk.judged[start:]}
    assert weigh(desk.judged, [], ON, known=known).held[0].user == "wrong"
    right = [replace(j, value=1.0 - j.value) if j.user == "wrong" else j for j in desk.judged]
    found = weigh(right, [], ON, known=known)
    assert found.held == []
    assert found.of("wrong") > 0.1


def test_agents_who_only_correct_weigh_one(attacked: Desk) -> None:
    pairs = [replace(pair(5000 + n, f"c{n}", "x", "y"), origin="correction", user="agent") for n in range(400)]
    assert weigh(attacked.judged, pairs, ON).of("agent") == 1.0


def test_several_votes_on_one_answer_count_before_likeness() -> None:
    desk = Desk(6)
    crowd(desk)
    shared = [thumb(9000 + n, f"s{n}", f"plain answer {n}", up=n % 2 == 0) for n in range(40)]
    agreed = [replace(j, user=f"honest-{m}") for j in shared for m in range(4)]
    against = [replace(j, user="against", value=1.0 - j.value) for j in shared]
    assert quarantined(weigh([*desk.judged, *agreed, *against], [], ON)) == {"against"}


def test_nothing_that_users_in_quarantine_said_is_left() -> None:
    data = snapshot(
        judged=[thumb(0, "q", "a", up=True, user="ann"), thumb(1, "q", "a", up=True, user="ben")],
        pairs=[replace(pair(2, "q", "x", "y"), user="ben")],
        demos=[replace(demo(3, "q", "x"), user="ben")],
    )
    left = without_held(data, weigh(data.judged, data.pairs, VotersConfig(held=("ben",))))
    assert [j.user for j in left.judged] == ["ann"]
    assert (left.pairs, left.demos) == ([], [])


def test_the_dry_run_prints_weights_and_reasons(
    attacked: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "votes.jsonl"
    file.write_bytes(b"\n".join(msgspec.json.encode(j) for j in attacked.judged))
    assert main([str(file), "--released", "colluder-0, colluder-1", "--held", "honest-1"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["weights"]["colluder-0"] == 1.0
    assert said["weights"]["honest-1"] == 0.0
    assert {entry["user"] for entry in said["quarantined"]} == {"honest-1"} | {f"colluder-{n}" for n in range(2, 8)}
    assert all(entry["reason"] and entry["labels"] for entry in said["quarantined"])
