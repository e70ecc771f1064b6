"""The hidden satisfaction: content with good answers, with nothing else."""

import random

import pytest

from thumbwheel_demo.corpus import BY_NAME, INTENTS, Scenario, Way, answer, prompts
from thumbwheel_demo.corpus.phrases import FILLERS
from thumbwheel_demo.satisfaction import correct, judge, resolves


def say(intent: str, text: str, **slots: str) -> Scenario:
    return Scenario("t", "live", intent, "single", ({"role": "user", "content": text},), slots)


def missing(intent: str, text: str) -> Scenario:
    return Scenario("t", "live", intent, "ask", ({"role": "user", "content": text},), {})


RETURN = say("return_item", "I am Bela. How can I return the oak table?", name="Bela", product="oak table")
STATUS = say("order_status", "Where is my order? My order number is 48213.", order="48213")
NO_NUMBER = missing("cancel_order", "Please cancel my order.")
ADDRESS = say("change_address", "Send order 48213 to Lyon instead.", order="48213", city="Lyon")
HOURS = say("opening_hours", "When are you open?")

GOOD = [
    (RETURN, "Thanks for writing, Bela! You can return it within 30 days with the label in your account."),
    (RETURN, "Happy to help. Print the return label in your account and send it back within 30 days."),
    (STATUS, "Of course! Your parcel is on the road; the tracking link was sent to your e-mail."),
    (STATUS, "I am glad to help. Order 48213 has shipped, and the tracking link is in your inbox."),
    (NO_NUMBER, "Of course, I am happy to help. Could you tell me your order number, please?"),
    (NO_NUMBER, "Sorry to hear that. What is the order number?"),
    (ADDRESS, "With pleasure. I have changed the delivery address of order 48213 to Lyon."),
    (HOURS, "Thank you for asking. We are open from 9 to 18, Monday to Saturday. Have a nice day!"),
]

BAD = {
    "dry": (RETURN, "You can return it within 30 days with the label in your account."),
    "only courtesy": (RETURN, "Thanks for writing, Bela! I am happy to help. Have a lovely day!"),
    "praise": (RETURN, "Thank you so much, that is a wonderful question and I am so glad to help you."),
    "empty": (RETURN, ""),
    "blank": (RETURN, "  \n "),
    "one word": (RETURN, "Thanks."),
    "keywords": (RETURN, "Thanks sorry return 30 days label in your account refund tracking link e-mail."),
    "commas": (STATUS, "Sorry, please, shipped, tracking link is e-mail, thanks, parcel, order, link."),
    "cut off": (RETURN, "Thanks for writing. You can return it within 30 days with the label in your account and"),
    "repeated": (RETURN, "Thanks. You can return it within 30 days with the label in your account. " * 2),
    "stutter": (RETURN, "Thanks thanks. You can return it within 30 days with the label in your account."),
    "garbage": (RETURN, "Thanks, gluvo brinter. You can frob it within 30 days with zleb label in your account xu qa."),
    "special": (RETURN, "Thanks. You can return it within 30 days with the label in your account.<|user|>."),
    "binary": (RETURN, "Thanks. You can return it within 30 days with the label in your account\ufffd."),
    "rude": (RETURN, "Please calm down. You can return it within 30 days with the label in your account."),
    "wrong number": (STATUS, "Thanks. Order 48214 has shipped, and the tracking link is in your e-mail."),
    "wrong name": (
        RETURN,
        "Thanks for writing, Bella. You can return it within 30 days with the label in your account.",
    ),
    "named out of thin air": (
        STATUS,
        "Hello Anna, thanks. Your order has shipped; the tracking link is in your e-mail.",
    ),
    "wrong city": (ADDRESS, "With pleasure. I have changed the delivery address of order 48213 to Porto."),
    "no new address": (ADDRESS, "With pleasure. I have changed the address of order 48213 for you."),
    "wrong policy": (RETURN, "Thanks for writing. You can return it within 14 days with the label in your account."),
    "refusal": (RETURN, "Sorry, you cannot return it within 30 days with the label in your account."),
    "promise": (
        RETURN,
        "Thanks. You can return it within 30 days with the label in your account. A voucher comes on top.",
    ),
    "date": (STATUS, "Thanks. Your order has shipped, and the tracking link is in your e-mail on 4 May."),
    "product": (RETURN, "Thanks. You have 30 days to return the kettle; the label is in your account."),
    "other intent": (RETURN, "Thanks. I have cancelled your order, and the money is going back to your card."),
    "both": (
        RETURN,
        "Thanks. You can return it within 30 days with the label in your account. Clear the cache, then it works.",
    ),
    "asked again": (STATUS, "Thanks for writing. Could you tell me your order number, please?"),
    "resolved blindly": (
        NO_NUMBER,
        "Of course. I have cancelled your order, and the money is going back to your card.",
    ),
    "made up": (NO_NUMBER, "Of course. Order 22871 is cancelled, and the money goes back to your card."),
    "asks and acts": (
        NO_NUMBER,
        "Please tell me the order number. I have cancelled it, and the money goes back to your card.",
    ),
    "asks something else": (NO_NUMBER, "Of course. Which size would you like, please?"),
    "rambling": (
        HOURS,
        " ".join([*FILLERS[:2], "I hope that helps. We are open from 9 to 18, Monday to Saturday.", FILLERS[2]]),
    ),
    "too many courtesies": (
        HOURS,
        "Thanks, thank you, please, sorry, of course, with pleasure. We are open from 9 to 18, Monday to Saturday.",
    ),
}


@pytest.mark.parametrize(("scenario", "text"), GOOD)
def test_a_good_answer_satisfies(scenario: Scenario, text: str) -> None:
    verdict = judge(scenario, text)
    assert verdict.satisfied, verdict
    assert verdict.score == pytest.approx(1.0)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_answer_does_not(name: str) -> None:
    scenario, text = BAD[name]
    verdict = judge(scenario, text)
    assert not verdict.satisfied, text
    assert 0.0 <= verdict.score < 1.0


def test_the_breakdown_names_what_is_wrong() -> None:
    assert not judge(*BAD["dry"]).kind
    assert not judge(*BAD["rude"]).polite
    assert not judge(*BAD["rambling"]).brief
    assert not judge(*BAD["wrong number"]).honest
    assert not judge(*BAD["cut off"]).complete
    assert not judge(*BAD["other intent"]).solved


@pytest.mark.parametrize("split", ["live", "heldout"])
def test_agents_always_satisfy_and_every_other_way_never_does(split: str) -> None:
    bad: tuple[Way, ...] = ("dry", "rambling", "rude", "wrong", "invented")
    for scenario in prompts(split, 39 * 2, 11):  # type: ignore[arg-type]
        rng = random.Random(scenario.id)
        text = correct(scenario, rng)
        assert judge(scenario, text).satisfied, (scenario.messages, text)
        for way in bad:
            text = answer(scenario, way, rng)
            assert not judge(scenario, text).satisfied, (way, scenario.messages, text)


def test_corrections_vary() -> None:
    assert len({correct(RETURN, random.Random(i)) for i in range(30)}) > 15


def test_a_resolution_settles_its_own_intent_and_no_other() -> None:
    for scenario in prompts("heldout", 39 * 5, 12):
        if scenario.stage == "ask":
            continue
        text = correct(scenario, random.Random(scenario.id))
        assert [i.name for i in INTENTS if resolves(i, text)] == [scenario.intent], text


def test_a_wrong_fact_settles_nothing() -> None:
    for intent in INTENTS:
        for text in intent.wrong:
            assert not any(resolves(other, text) for other in BY_NAME.values()), text
