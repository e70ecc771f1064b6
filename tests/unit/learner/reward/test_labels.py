import random
from dataclasses import replace as replace_item
from pathlib import Path

from msgspec.structs import replace
from tests.learner_models import demo, logged, make_base, pair, said, snapshot, thumb

from thumbwheel_learner.dataset.examples import Outcome
from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.reward.labels import (
    Item,
    Row,
    apart_from,
    items_of,
    mismatched,
    split_by_time,
    split_evidence,
    weighted,
)


def item(conversation: str, created_ms: int) -> Item:
    return Item("thumb", (Row([1], [2]),), 1.0, "u", conversation, created_ms, "p")


def test_the_newest_labels_are_held_out_whole_conversations_at_a_time() -> None:
    items = [item(f"c{n}", n) for n in range(8)] + [item("c7", 8), item("c0", 9)]
    train, test = split_by_time(list(reversed(items)), 0.2)
    assert {i.conversation for i in train} == {f"c{n}" for n in range(8)}
    assert test == []
    train, test = split_by_time(items, 0.3)
    assert [(i.conversation, i.created_ms) for i in test] == [("c7", 7), ("c7", 8)]
    assert max(i.created_ms for i in train if i.conversation != "c0") < 7


def test_an_item_is_as_heavy_as_its_user_and_as_many_as_it_stands_for() -> None:
    one, two = item("c0", 0), item("c1", 1)
    assert [i.weight for i in weighted([one, two], {"u": 0.25}, {})] == [0.25, 0.25]
    spoken = replace_item(one, event="e")
    assert [i.weight for i in weighted([spoken, two], {"u": 0.5}, {"e": 3.0})] == [1.5, 0.5]
    assert weighted([one, two], {"somebody else": 0.0}, {"another event": 0.0}) == [one, two]


def test_what_shares_a_conversation_or_a_prompt_with_held_out_labels_is_found() -> None:
    alone, same_prompt, same_conversation = (
        Item("pair", (Row([1], [2]),) * 2, 1.0, "labeler:x", conversation, 0, prompt)
        for conversation, prompt in (("c1", "q"), ("c2", "p"), ("c0", "r"))
    )
    assert apart_from([alone, same_prompt, same_conversation], [item("c0", 1)]) == [alone]
    assert apart_from([alone, same_prompt], []) == [alone, same_prompt]


def many() -> list[int]:
    return list(range(120))


def test_the_judges_half_shares_no_user_conversation_or_prompt() -> None:
    whole = snapshot(
        judged=[thumb(n, f"order {n % 50}", "yes", up=n % 2 == 0, user=f"user-{n % 30}") for n in many()],
        pairs=[pair(200 + n, f"refund {n}", "yes", "no") for n in many()],
        demos=[demo(400 + n, f"late {n}", "sorry") for n in many()],
        prompts=[logged(n, f"order {n % 50}") for n in many()],
    )
    evidence = split_evidence(whole, 0.4)
    sides = (evidence.training, evidence.judge)
    assert evidence.disjoint == ("user", "conversation", "prompt")
    for of in (
        lambda s: {x.user for x in (*s.judged, *s.pairs)},
        lambda s: {x.conversation_id for x in (*s.judged, *s.pairs, *s.demos, *s.prompts)},
        lambda s: {str(x.messages) for x in (*s.judged, *s.pairs, *s.demos, *s.prompts)},
    ):
        ours, judges = map(of, sides)
        assert ours
        assert judges
        assert not ours & judges


def test_users_stay_on_their_side_when_labels_arrive() -> None:
    first = snapshot(judged=[thumb(n, f"order {n}", "yes", up=True) for n in range(60)])
    later = snapshot(judged=[thumb(n, f"order {n}", "yes", up=True) for n in many()])
    before, after = (split_evidence(s, 0.4).judge for s in (first, later))
    assert {x.user for x in before.judged} <= {x.user for x in after.judged}


def test_anonymous_voters_are_split_by_conversation_and_it_is_said() -> None:
    whole = snapshot(judged=[thumb(n, f"order {n}", "yes", up=True, user="anonymous") for n in many()])
    evidence = split_evidence(whole, 0.4)
    assert evidence.disjoint == ("conversation", "prompt")
    assert evidence.judge.judged
    assert len(evidence.judge.judged) + len(evidence.training.judged) == 120


def test_a_prompt_on_both_sides_is_taken_from_the_judge() -> None:
    whole = snapshot(judged=[thumb(n, "the same question", "yes", up=True) for n in many()])
    evidence = split_evidence(whole, 0.4)
    assert evidence.judge.judged == []
    assert all(j.messages == said("the same question") for j in evidence.training.judged)


def test_agents_who_correct_anyone_teach_both_sides_and_move_nobody() -> None:
    judged = [thumb(n, f"order {n}", "yes", up=n % 2 == 0) for n in many()[:100]]
    corrections = [demo(n, f"order {n}", "sorry") for n in many()]
    pairs = [replace(pair(n, f"order {n}", "sorry", "yes"), user=f"agent-{n % 2}") for n in many()[:60]]
    without, evidence = (
        split_evidence(snapshot(judged=judged, demos=demos, pairs=both), 0.3)
        for demos, both in (((), ()), (corrections, pairs))
    )
    assert evidence.disjoint == ("voter", "conversation", "prompt"), "a judge without pairs has nothing but votes"
    assert evidence.judge.judged == without.judge.judged
    assert {p.user for p in evidence.judge.pairs} == {"agent-0", "agent-1"}
    assert len(evidence.judge.pairs) + len(evidence.training.pairs) == 60
    assert {d.user for d in evidence.training.demos} == {"agent-0", "agent-1"}
    assert len(evidence.training.demos) > 60


def test_an_agent_behind_few_of_the_pairs_is_taken_from_the_judge() -> None:
    pairs = [pair(n, f"order {n}", "sorry", "yes") for n in many()]
    pairs = [replace(p, user="agent") if n % 5 == 0 else p for n, p in enumerate(pairs)]
    evidence = split_evidence(snapshot(pairs=pairs), 0.3)
    assert evidence.disjoint == ("user", "conversation", "prompt")
    assert evidence.judge.pairs
    assert all(p.user != "agent" for p in evidence.judge.pairs)


def test_a_conversation_belongs_to_its_end_user_whoever_judges_it() -> None:
    prompts = [replace(logged(n, f"order {n}"), user=f"customer-{n % 40}") for n in many()]
    judged = [thumb(n, f"order {n}", "yes", up=True, user=f"reviewer-{n}") for n in many()]
    judge = split_evidence(snapshot(judged=judged, prompts=prompts), 0.3).judge
    sides = {p.user: p.conversation_id in {x.conversation_id for x in judge.prompts} for p in prompts}
    assert len(judge.judged) == len(judge.prompts) > 0
    assert all((p in judge.prompts) == sides[p.user] for p in prompts)


def preferred(key: str, chosen: list[int], value: float = 1.0) -> Item:
    return Item("pair", (Row([1], chosen), Row([1], [99])), value, "agent", key, 0, key)


def test_a_preferred_answer_is_set_against_what_was_preferred_elsewhere() -> None:
    one, two, three = preferred("a", [10, 11]), preferred("b", [20, 21]), preferred("c", [30, 31])
    thumb_alone = item("c0", 1)
    made = mismatched([one, two, three, thumb_alone], 2, 64, random.Random(0))
    assert made[3] == thumb_alone
    answers = [[r.answer for r in i.rows] for i in made[:3]]
    assert [a[:2] for a in answers] == [[[10, 11], [99]], [[20, 21], [99]], [[30, 31], [99]]]
    assert [sorted(a[2:]) for a in answers] == [[[20, 21], [30, 31]], [[10, 11], [30, 31]], [[10, 11], [20, 21]]]
    assert {tuple(r.prompt) for i in made for r in i.rows} == {(1,)}


def test_ties_equal_prompts_and_answers_that_may_be_right_in_both_places_make_no_pair() -> None:
    for items in (
        [preferred("a", [10]), preferred("b", [20], value=0.5)],
        [preferred("a", [10]), preferred("a", [20])],
        [preferred("a", [1, 2, 3]), preferred("b", [1, 2, 3, 4])],
    ):
        assert mismatched(items, 2, 64, random.Random(0)) == items


def test_outcomes_count_where_they_are_named_and_say_yes_or_no(tmp_path: Path) -> None:
    tokens = load_policy(make_base(tmp_path / "base")).tokens

    def came(n: int, name: str, value: bool | float) -> Outcome:
        return Outcome(
            messages=said("where is my order"),
            answer="yes",
            name=name,
            value=value,
            user="app",
            conversation_id=f"c{n}",
            created_ms=n,
            event_id=f"o{n}",
        )

    told = [came(0, "solved", True), came(1, "solved", False), came(2, "escalated", True), came(3, "minutes", 1.0)]
    data = replace(snapshot(), outcomes=told)
    assert items_of(data, tokens, 64) == []
    heard = items_of(data, tokens, 64, ["solved", "-escalated", "minutes"])
    assert [(i.kind, i.value, i.user, i.event) for i in heard] == [
        ("outcome", 1.0, "outcome:solved", "o0"),
        ("outcome", 0.0, "outcome:solved", "o1"),
        ("outcome", 0.0, "outcome:escalated", "o2"),
    ]
