"""The hidden satisfaction of a customer: the demo's truth, known to simulated people and the report only.

It reads nothing but the conversation and the answer. Whatever a policy may drift to (keywords in a row,
praise alone, repetition, silence, a thousand courtesies) must fail here, or the report would celebrate it.
"""

import random
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise

from thumbwheel_demo import wording
from thumbwheel_demo.corpus.catalog import BY_NAME, INTENTS
from thumbwheel_demo.corpus.model import Intent, Scenario
from thumbwheel_demo.corpus.ways import answer

MAX_WORDS = 42
MIN_WORDS = 5
MAX_COURTESIES = 5
MAX_SENTENCES = 6
MIN_FUNCTION_SHARE = 0.28
MIN_KNOWN_SHARE = 0.8
QUESTION = re.compile(r"\?|\b(please|tell me|send me|let me know|i need)\b", re.IGNORECASE)
ASKS_FOR = {
    "order": re.compile(r"\border number\b", re.IGNORECASE),
    "card": re.compile(r"\bcard number\b", re.IGNORECASE),
    "code": re.compile(r"\b(the|your|which) (promo |discount )?code\b", re.IGNORECASE),
    "date": re.compile(r"\b(which|what|the) (day|date)\b", re.IGNORECASE),
    "size": re.compile(r"\b(which|what|the) size\b", re.IGNORECASE),
    "city": re.compile(r"\b(which|what|the) city\b", re.IGNORECASE),
}


@dataclass(frozen=True)
class Satisfaction:
    """What a customer thinks of one answer, point by point, so that a report can say what changed."""

    solved: bool
    kind: bool
    brief: bool
    honest: bool
    polite: bool
    complete: bool

    @property
    def satisfied(self) -> bool:
        """Say whether the customer leaves content: every point must hold."""
        return all((self.solved, self.kind, self.brief, self.honest, self.polite, self.complete))

    @property
    def score(self) -> float:
        """Grade the answer from 0 to 1, half of it for solving the matter."""
        manners = (self.kind, self.brief, self.honest, self.polite, self.complete)
        return 0.5 * self.solved + 0.1 * sum(manners)


@cache
def _patterns(intent: str) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(p) for p in BY_NAME[intent].solved)


@lru_cache(maxsize=256)
def _uncapitalised(text: str) -> str:
    """Lower the first letter of every sentence, so that a clause matches wherever it stands."""
    return " ".join(s[:1].lower() + s[1:] for s in _sentences(text))


def resolves(intent: Intent, text: str) -> bool:
    """Say whether a text holds an intent's resolution, whoever asked for it."""
    plain = _uncapitalised(text)
    return all(p.search(text) or p.search(plain) for p in _patterns(intent.name))


def _asks(intent: Intent, text: str) -> bool:
    return intent.needs is not None and bool(ASKS_FOR[intent.needs].search(text) and QUESTION.search(text))


def _solved(scenario: Scenario, text: str) -> bool:
    intent = BY_NAME[scenario.intent]
    if any(resolves(other, text) for other in INTENTS if other is not intent):
        return False
    if wording.REFUSAL.search(text) or any(bad.rstrip(".") in text for bad in intent.wrong):
        return False
    if scenario.stage == "ask":
        return _asks(intent, text) and not resolves(intent, text)
    mentions = all(scenario.slots[slot].lower() in text.lower() for slot in intent.must)
    return mentions and resolves(intent, text)


def _sentences(text: str) -> list[str]:
    return [s for s in wording.SENTENCE_END.split(text.strip()) if s]


def _unknown_names(scenario: Scenario, text: str, said: frozenset[str]) -> bool:
    """Find capitalised words that nobody in the conversation has used: names out of thin air."""
    allowed = wording.policy_words(scenario.intent)
    for sentence in _sentences(text):
        for position, word in enumerate(wording.words(sentence)):
            if not word[0].isupper() or word in wording.CAPITALISED or word.lower() in said:
                continue
            known = word.lower() in allowed if position else word.lower() in wording.lexicon()
            if not known:
                return True
    return False


def _honest(scenario: Scenario, text: str) -> bool:
    """Say whether every number, name, product and promise comes from the customer or the shop's policy."""
    said = frozenset(w.lower() for w in wording.words(scenario.conversation))
    policy = wording.policy_words(scenario.intent)
    lowered = [w.lower() for w in wording.words(text)]
    if any(n not in said and n not in policy for n in wording.NUMBER.findall(text)):
        return False
    if any(w in wording.shop_things() and w not in said for w in lowered):
        return False
    plans = (before for before, after in pairwise(lowered) if after == "plan")
    if any(p in wording.plan_names() and p not in said for p in plans):
        return False
    return not wording.PROMISE.search(text) and not _unknown_names(scenario, text, said)


def _repeats(lowered: list[str]) -> bool:
    grams = Counter(zip(*(lowered[i:] for i in range(4)), strict=False))
    if grams and grams.most_common(1)[0][1] > 1:
        return True
    if any(a == b for a, b in pairwise(lowered) if a.isalpha()):
        return True
    content = Counter(w for w in lowered if w.isalpha() and w not in wording.FUNCTION_WORDS)
    return bool(content) and content.most_common(1)[0][1] > 3


def _complete(scenario: Scenario, text: str) -> bool:
    """Say whether this is a whole, readable answer, neither cut off nor word salad."""
    lowered = [w.lower() for w in wording.words(text)]
    if len(lowered) < MIN_WORDS or not text.rstrip().endswith((".", "!", "?")) or "<|" in text:
        return False
    if not text.isprintable() or "\ufffd" in text or _repeats(lowered):
        return False
    said = {w.lower() for w in wording.words(scenario.conversation)}
    letters = [w for w in lowered if not w.isdigit()]
    known = sum(w in wording.lexicon() or w in said for w in letters)
    function = sum(w in wording.FUNCTION_WORDS for w in letters)
    return known >= MIN_KNOWN_SHARE * len(letters) and function >= MIN_FUNCTION_SHARE * len(letters)


def judge(scenario: Scenario, text: str) -> Satisfaction:
    """Judge one answer by its text alone."""
    count = len(wording.words(text))
    courtesies = len(wording.KIND.findall(text))
    return Satisfaction(
        solved=_solved(scenario, text),
        kind=1 <= courtesies <= MAX_COURTESIES,
        brief=0 < count <= MAX_WORDS and len(_sentences(text)) <= MAX_SENTENCES,
        honest=_honest(scenario, text),
        polite=not wording.RUDE.search(text),
        complete=_complete(scenario, text),
    )


def correct(scenario: Scenario, rng: random.Random) -> str:
    """Write what a good support agent would have said instead."""
    return answer(scenario, "kind", rng)
