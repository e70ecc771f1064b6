"""How the hidden judge reads: words it knows, facts it can check, and manners it minds."""

import re
from functools import cache, lru_cache

from thumbwheel_demo.corpus import phrases
from thumbwheel_demo.corpus.catalog import BY_NAME, INTENTS
from thumbwheel_demo.corpus.slots import PLANS, THINGS

KIND = re.compile(
    r"\b(thanks|thank you|please|sorry|apologi[sz]e|(happy|glad) to|with pleasure|of course"
    r"|let me know|take care|i hope|have a (nice|lovely|good|great) day|anything else i can)\b",
    re.IGNORECASE,
)
RUDE = re.compile(
    r"\b(not my problem|figure it out|bother somebody|your own fault|nobody( here)? cares|leave me alone"
    r"|not again|oh great|did you even|you people|never learn|obvious|calm down|whining|stupid|idiot"
    r"|dumb|shut up|no time for this|what do you want|go away|who cares|read the page)\b",
    re.IGNORECASE,
)
REFUSAL = re.compile(
    r"\b(cannot|can't|won't|will not|not able|unable|refuse|never|no longer|impossible|not possible|too late)\b",
    re.IGNORECASE,
)
PROMISE = re.compile(
    r"\b(vouchers?|guarantee\w*|compensat\w+|on top|presents? worth|half of the price|tomorrow|a free (?!replacement)"
    r"|discount of|promise|we will also pay|double|bonus)\b",
    re.IGNORECASE,
)
WORD = re.compile(r"[A-Za-z]+(?:['-][A-Za-z]+)*|\d+")
NUMBER = re.compile(r"\d+")
SENTENCE_END = re.compile(r"(?<=[.!?;:])\s+")
FUNCTION_WORDS = frozenset(
    """a an the i you he she it we they me him her us them my your his its our their this that these those
    is are was were be been am do does did have has had will would can could may might should shall must
    and or but if so as than then for from to of in on at by with within without about after before until
    up out off over not no yes there here what which who when where how all any some more most other
    another only also just now again once please thanks thank""".split()
)
CAPITALISED = frozenset({"I", "I'm", "I've", "I'll", "PDF", "Monday", "Saturday", "OK"})


def words(text: str) -> list[str]:
    """Split into words and numbers, keeping case, since capitals tell names apart."""
    return WORD.findall(text)


@lru_cache(maxsize=1)
def lexicon() -> frozenset[str]:
    """Collect every word that a support desk has reason to use; made-up words show against it."""
    pools: list[str] = [text for i in INTENTS for text in (*i.asks, *i.held, *i.right, *i.wrong)]
    for pool in (
        *phrases.KIND_QUESTIONS.values(),
        *(p for by_split in phrases.GIVEN.values() for p in by_split.values()),
        phrases.DRY_QUESTIONS,
        phrases.NEUTRAL_OPENERS,
        phrases.SORRY_OPENERS,
        phrases.NAMED_NEUTRAL_OPENERS,
        phrases.NAMED_SORRY_OPENERS,
        phrases.CLOSERS,
        phrases.RUDE_OPENERS,
        phrases.RUDE_BODIES,
        phrases.FILLERS,
        phrases.PROMISES,
        phrases.MADE_UP,
    ):
        pools.extend(pool)
    plain = (re.sub(r"\{\w+\}", " ", text) for text in pools)
    return frozenset(w.lower() for text in plain for w in words(text)) | FUNCTION_WORDS


@cache
def policy_words(intent: str) -> frozenset[str]:
    """Collect the words of an intent's own policy: its numbers are facts, not inventions."""
    return frozenset(w.lower() for text in BY_NAME[intent].right for w in words(text))


@lru_cache(maxsize=1)
def shop_things() -> frozenset[str]:
    """List the products that only a customer can bring up, so that others count as invented."""
    return frozenset(thing for pool in THINGS.values() for thing in pool) - lexicon()


@lru_cache(maxsize=1)
def plan_names() -> frozenset[str]:
    """List the names of subscription plans, which an answer may not swap."""
    return frozenset(plan for pool in PLANS.values() for plan in pool)
