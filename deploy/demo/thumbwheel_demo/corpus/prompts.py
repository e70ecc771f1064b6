"""Conversations up to the customer's last word, for training, for live chats, and held out."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from thumbwheel_demo.corpus import phrases
from thumbwheel_demo.corpus.catalog import INTENTS
from thumbwheel_demo.corpus.model import ChatMessage, Intent, Scenario, Split, Stage
from thumbwheel_demo.corpus.slots import draw
from thumbwheel_demo.corpus.text import expand, join, pick, sentence_case, slots_in
from thumbwheel_demo.corpus.ways import Way, WayWeights, answer, draw_way

SYSTEM_PROMPTS = (
    "You are the support desk of an online shop. Be right, kind and brief.",
    "You are a helpful support agent.",
)


@dataclass(frozen=True)
class Dialogue:
    """One training example: a scenario, the way it is answered, and the answer."""

    scenario: Scenario
    way: Way
    answer: str
    system: str = ""


def _stage(intent: Intent, rng: random.Random) -> Stage:
    if intent.needs is None:
        return "single"
    stages: tuple[Stage, ...] = ("single", "ask", "resolve")
    return rng.choices(stages, (0.4, 0.2, 0.4))[0]


def _values(intent: Intent, phrasing: str, split: Split, rng: random.Random) -> dict[str, str]:
    """Draw a value for every slot that this conversation may mention."""
    wanted = sorted(slots_in(phrasing).union([intent.needs] if intent.needs else []))
    values = {slot: draw(slot, split, rng) for slot in wanted}
    if rng.random() < 0.55:
        values["name"] = draw("name", split, rng)
    return values


def _said(template: str, rng: random.Random, values: dict[str, str]) -> str:
    return sentence_case(expand(template, rng, values))


def _with_name(text: str, held: bool, rng: random.Random, values: dict[str, str]) -> str:
    """Let the customer introduce themselves or sign, if they give their name at all."""
    greeting = rng.choice(phrases.GREETINGS[held])
    if "name" not in values:
        return sentence_case(join(greeting, text if greeting else sentence_case(text)))
    if rng.random() < 0.6:
        intro = pick(phrases.INTRODUCTIONS[held], rng, values)
        return join(sentence_case(join(greeting, intro)), sentence_case(text))
    signature = _said(rng.choice(phrases.SIGNATURES[held]), rng, values)
    return join(sentence_case(join(greeting, text)), signature)


def _reply(slot: str, held: bool, rng: random.Random, values: dict[str, str]) -> str:
    """Give the missing slot in a turn of its own, often as the bare value."""
    if rng.random() < 0.25:
        return values[slot] + rng.choice(("", "."))
    lead = rng.choice(phrases.REPLY_LEADS[held])
    return sentence_case(join(lead, pick(phrases.GIVEN[slot][held], rng, values)))


def _turns(
    intent: Intent, phrasing: str, stage: Stage, held: bool, rng: random.Random, values: dict[str, str]
) -> list[ChatMessage]:
    said = expand(phrasing, rng, values)
    if intent.needs and stage == "single":
        said = join(said, _said(rng.choice(phrases.GIVEN[intent.needs][held]), rng, values))
    if stage == "resolve":
        assert intent.needs is not None
        question = rng.choice(phrases.KIND_QUESTIONS[intent.needs])
        return [
            {"role": "user", "content": _with_name(said, held, rng, values)},
            {"role": "assistant", "content": question},
            {"role": "user", "content": _reply(intent.needs, held, rng, values)},
        ]
    if rng.random() < 0.2:
        pool = phrases.NAMED_OPENINGS if "name" in values else phrases.OPENINGS
        return [
            {"role": "user", "content": _said(rng.choice(pool[held]), rng, values)},
            {"role": "assistant", "content": rng.choice(phrases.HOW_CAN_I_HELP)},
            {"role": "user", "content": sentence_case(said)},
        ]
    return [{"role": "user", "content": _with_name(said, held, rng, values)}]


def scenario(intent: Intent, split: Split, identity: str, rng: random.Random) -> Scenario:
    """Build one conversation for an intent from the split's own values and phrasings."""
    held = phrases.is_heldout(split)
    phrasing = rng.choice(intent.held if held else intent.asks)
    stage = _stage(intent, rng)
    values = _values(intent, phrasing, split, rng)
    messages = _turns(intent, phrasing, stage, held, rng, values)
    if stage == "ask":
        assert intent.needs is not None
        if intent.needs not in slots_in(phrasing):
            del values[intent.needs]
    customer = f"{split}-customer-{rng.randrange(1000):03d}"
    return Scenario(identity, split, intent.name, stage, tuple(messages), values, customer, phrasing)


def prompts(split: Split, n: int, seed: int) -> list[Scenario]:
    """List ``n`` conversations of a split, the same for the same seed, every intent equally often."""
    order = list(INTENTS)
    random.Random(f"order-{split}-{seed}").shuffle(order)
    return [
        scenario(order[i % len(order)], split, f"{split}-{seed}-{i:05d}", random.Random(f"{split}-{seed}-{i}"))
        for i in range(n)
    ]


def dialogues(n: int, seed: int, weights: WayWeights | None = None) -> Iterator[Dialogue]:
    """Stream training dialogues one by one, since a training run reads each only once."""
    mixture = weights or WayWeights()
    for i in range(n):
        rng = random.Random(f"corpus-{seed}-{i}")
        said = scenario(rng.choice(INTENTS), "train", f"train-{seed}-{i:06d}", rng)
        way = draw_way(mixture, rng)
        system = rng.choice(SYSTEM_PROMPTS) if rng.random() < 0.05 else ""
        yield Dialogue(said, way, answer(said, way, rng), system)
