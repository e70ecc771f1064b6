"""The corpus: the same for the same seed, and never the same across splits."""

import random
from itertools import islice

from thumbwheel_demo.corpus import BY_NAME, INTENTS, WayWeights, dialogues, phrases, prompts
from thumbwheel_demo.corpus.model import Scenario, Split
from thumbwheel_demo.corpus.slots import draw
from thumbwheel_demo.wording import KIND, RUDE, words

MANY = 39 * 8


def values_of(scenarios: list[Scenario]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for scenario in scenarios:
        for slot, value in scenario.slots.items():
            found.setdefault(slot, set()).add(value)
    return found


def test_there_are_enough_intents_phrasings_and_answers() -> None:
    assert len(INTENTS) >= 30
    assert len(BY_NAME) == len(INTENTS)
    for intent in INTENTS:
        assert len(intent.asks) >= 5, intent.name
        assert len(intent.held) >= 2, intent.name
        assert len(intent.right) >= 3, intent.name
        assert not set(intent.asks) & set(intent.held), intent.name


def test_the_same_seed_gives_the_same_prompts_and_another_seed_others() -> None:
    first = prompts("heldout", 80, 3)
    assert first == prompts("heldout", 80, 3)
    assert first[:20] == prompts("heldout", 20, 3)
    assert [s.messages for s in first] != [s.messages for s in prompts("heldout", 80, 4)]
    assert len({s.id for s in first}) == 80


def test_the_same_seed_gives_the_same_training_dialogues() -> None:
    assert list(dialogues(60, 5)) == list(islice(dialogues(100, 5), 60))
    assert list(dialogues(10, 5)) != list(dialogues(10, 6))


def test_heldout_values_occur_in_no_other_split() -> None:
    held = values_of(prompts("heldout", MANY, 0))
    seen = values_of([*prompts("live", MANY, 0), *prompts("train", 3 * MANY, 0)])
    for slot, values in held.items():
        assert not values & seen[slot], slot
    assert {"name", "order", "product", "city", "date", "amount", "code", "size"} <= held.keys()


def test_slot_pools_are_disjoint_by_construction() -> None:
    rng = random.Random(0)
    splits: tuple[Split, ...] = ("train", "live", "heldout")
    for slot in ("name", "order", "card", "amount", "date", "product", "city", "code", "plan", "size"):
        pools = [{draw(slot, split, rng) for _ in range(400)} for split in splits]
        assert not pools[2] & (pools[0] | pools[1]), slot
        assert not pools[0] & pools[1], slot


def test_heldout_words_for_names_and_things_never_occur_in_the_corpus() -> None:
    corpus = set[str]()
    for dialogue in dialogues(2000, 0):
        for message in dialogue.scenario.messages:
            corpus.update(words(message["content"]))
        corpus.update(words(dialogue.answer))
    held = values_of(prompts("heldout", MANY, 0))
    assert not held["name"] & corpus
    assert not held["order"] & corpus
    assert not held["city"] & corpus
    assert not {product.split()[1] for product in held["product"]} & corpus


def test_heldout_phrasings_occur_in_no_other_split() -> None:
    held = {s.phrasing for s in prompts("heldout", MANY, 0)}
    seen = {s.phrasing for split in ("live", "train") for s in prompts(split, MANY, 0)}  # type: ignore[arg-type]
    assert not held & seen
    assert len(held) >= 2 * len(INTENTS) - 5


def test_every_stage_and_multi_turn_context_occurs_and_ends_with_the_customer() -> None:
    scenarios = prompts("live", MANY, 1)
    assert {s.stage for s in scenarios} == {"single", "ask", "resolve"}
    assert {len(s.messages) for s in scenarios} == {1, 3}
    for scenario in scenarios:
        assert scenario.messages[-1]["role"] == "user"
        assert [m["role"] for m in scenario.messages] == ["user", "assistant", "user"][-len(scenario.messages) :]
        assert all(v in scenario.conversation for v in scenario.slots.values())
        needs = BY_NAME[scenario.intent].needs
        assert (needs is not None and needs not in scenario.slots) == (scenario.stage == "ask")


def test_training_answers_come_in_every_way_with_the_documented_shares() -> None:
    ways = [d.way for d in dialogues(2500, 2)]
    assert set(ways) == {"kind", "dry", "rambling", "rude", "wrong", "invented"}
    assert abs(ways.count("kind") / len(ways) - WayWeights().kind) < 0.04


def test_resolutions_are_neither_kind_nor_rude_by_themselves() -> None:
    for intent in INTENTS:
        for text in (*intent.right, *intent.wrong):
            assert not KIND.search(text), text
            assert not RUDE.search(text), text
    for opener in (*phrases.NEUTRAL_OPENERS, *phrases.SORRY_OPENERS):
        assert KIND.search(opener.replace("[happy|glad]", "glad")), opener
