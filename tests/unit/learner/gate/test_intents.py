import random

from thumbwheel_learner.gate.intents import OTHERS, intents_of

WORDS = ["<user>", "refund", "money", "back", "parcel", "late", "where", "please", "now", "thanks", "hello", "12345"]


def decode(ids: object) -> str:
    return " ".join(WORDS[i] for i in ids)  # type: ignore[attr-defined]


def prompts() -> list[list[int]]:
    rng = random.Random(0)
    about = ([1, 2, 3], [4, 5, 6])
    return [[0, *about[n % 2], *rng.sample(range(7, 11), 2)] for n in range(100)]


def test_prompts_that_are_alike_are_one_intent_named_by_its_words() -> None:
    found = intents_of(prompts(), [None] * 100, decode, least=12)
    assert len(set(found)) == 2
    assert {found[n] for n in range(0, 100, 2)} == {"like: refund, money, back"}
    assert {found[n] for n in range(1, 100, 2)} == {"like: parcel, late, where"}
    assert found == intents_of(prompts(), [None] * 100, decode, least=12)


def test_what_the_app_says_a_chat_is_about_counts_and_rare_things_are_others() -> None:
    given = ["billing"] * 50 + ["login"] * 5 + [None] * 45
    found = intents_of(prompts(), given, decode, least=12)
    assert found[:50] == ["billing"] * 50
    assert set(found[50:]) == {OTHERS}, "five are too few to judge, forty-five too few to cluster"


def test_what_is_in_few_prompts_never_names_a_cluster() -> None:
    asked = [[*p, 11] if n == 0 else p for n, p in enumerate(prompts())]
    assert not any("12345" in name for name in intents_of(asked, [None] * 100, decode, least=12))
