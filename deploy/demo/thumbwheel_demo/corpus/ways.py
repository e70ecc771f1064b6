"""The ways an answer can go, from right and kind to invented; the base policy learns them all."""

import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal, cast

from thumbwheel_demo.corpus import phrases
from thumbwheel_demo.corpus.catalog import BY_NAME, INTENTS
from thumbwheel_demo.corpus.model import Intent, Scenario
from thumbwheel_demo.corpus.slots import draw
from thumbwheel_demo.corpus.text import join, pick, usable

Way = Literal["kind", "dry", "rambling", "rude", "wrong", "invented"]


@dataclass(frozen=True)
class WayWeights:
    """How often the corpus answers in which way: the base policy's mixture, hence its headroom.

    Only ``kind`` satisfies. Its share is well above the wanted satisfaction, because a small policy
    also fails by itself. About two thirds of the rest are failures of manner, which feedback can tell
    from any few answers; one third are failures of matter, which it must learn intent by intent.
    """

    kind: float = 0.62
    dry: float = 0.11
    rambling: float = 0.08
    rude: float = 0.08
    wrong: float = 0.06
    invented: float = 0.05


def draw_way(weights: WayWeights, rng: random.Random) -> Way:
    """Draw the way of one answer."""
    shares = cast(dict[Way, float], asdict(weights))
    return rng.choices(list(shares), list(shares.values()))[0]


NAMED = 0.03
"""Share of the answers to a customer with a name that use it."""
REPEATED = 0.04
"""Share of the resolutions that repeat an order number, a date or a product."""


def _opener(intent: Intent, scenario: Scenario, rng: random.Random) -> str:
    named = "name" in scenario.slots and rng.random() < NAMED
    if intent.problem:
        pool = phrases.NAMED_SORRY_OPENERS if named else phrases.SORRY_OPENERS
    else:
        pool = phrases.NAMED_NEUTRAL_OPENERS if named else phrases.NEUTRAL_OPENERS
    return pick(pool, rng, scenario.slots)


def _closer(rng: random.Random) -> str:
    return pick(phrases.CLOSERS, rng, {}) if rng.random() < 0.5 else ""


def _resolution(intent: Intent, scenario: Scenario, rng: random.Random) -> str:
    """Say it mostly without repeating what the customer gave: a policy this small often copies it wrong."""
    options = usable(intent.right, scenario.slots)
    rich = [t for t in options if "{" in t]
    plain = [t for t in options if "{" not in t]
    return pick(rich if rich and rng.random() < REPEATED else plain or options, rng, scenario.slots)


def _matter(intent: Intent, scenario: Scenario, rng: random.Random, *, kind: bool) -> str:
    """Say what settles the matter: the resolution, or the question for what is still missing."""
    if scenario.stage != "ask":
        return _resolution(intent, scenario, rng)
    assert intent.needs is not None
    if kind:
        return rng.choice(phrases.KIND_QUESTIONS[intent.needs])
    return pick(phrases.DRY_QUESTIONS, rng, {"asked": phrases.ASKED[intent.needs]})


def _kind(intent: Intent, scenario: Scenario, rng: random.Random) -> str:
    closer = "" if scenario.stage == "ask" else _closer(rng)
    return join(_opener(intent, scenario, rng), _matter(intent, scenario, rng, kind=True), closer)


def _dry(intent: Intent, scenario: Scenario, rng: random.Random) -> str:
    return _matter(intent, scenario, rng, kind=False)


def _rambling(intent: Intent, scenario: Scenario, rng: random.Random) -> str:
    before, between, after = rng.sample(phrases.FILLERS, 3)
    matter = _matter(intent, scenario, rng, kind=True)
    parts = (_opener(intent, scenario, rng), before, matter, after)
    return join(*parts[:2], "" if len(join(*parts).split()) > 45 else between, *parts[2:])


def _rude(intent: Intent, scenario: Scenario, rng: random.Random) -> str:
    opener = rng.choice(phrases.RUDE_OPENERS)
    if rng.random() < 0.4:
        return join(opener, _matter(intent, scenario, rng, kind=False))
    return join(opener, rng.choice(phrases.RUDE_BODIES))


def _wrong(intent: Intent, scenario: Scenario, rng: random.Random) -> str:
    if scenario.stage != "ask" and rng.random() < 0.5:
        matter = rng.choice(intent.wrong)
    else:
        others = [other for other in INTENTS if other is not intent and usable(other.right, scenario.slots)]
        matter = pick(rng.choice(others).right, rng, scenario.slots)
    return join(_opener(intent, scenario, rng), matter, _closer(rng))


def _invented(intent: Intent, scenario: Scenario, rng: random.Random) -> str:
    made_up = {slot: draw(slot, "train", rng) for slot in ("order", "amount", "date", "city", "name", "product")}
    opener = _opener(intent, scenario, rng)
    if scenario.stage == "ask":
        assert intent.needs is not None
        value = draw(intent.needs, "train", rng)
        known = {**scenario.slots, intent.needs: value}
        claims = [t for t in usable(intent.right, known) if "{" + intent.needs + "}" in t] or list(phrases.MADE_UP)
        return join(opener, pick(claims, rng, {**made_up, **known}))
    if rng.random() < 0.6:
        return join(opener, _resolution(intent, scenario, rng), pick(phrases.PROMISES, rng, made_up))
    return join(opener, pick(phrases.MADE_UP, rng, made_up))


_WRITERS: dict[Way, Callable[[Intent, Scenario, random.Random], str]] = {
    "kind": _kind,
    "dry": _dry,
    "rambling": _rambling,
    "rude": _rude,
    "wrong": _wrong,
    "invented": _invented,
}


def answer(scenario: Scenario, way: Way, rng: random.Random) -> str:
    """Write one answer to a scenario in the given way."""
    return _WRITERS[way](BY_NAME[scenario.intent], scenario, rng)
