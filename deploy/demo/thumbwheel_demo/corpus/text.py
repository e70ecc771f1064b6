"""A tiny template grammar, so that one written phrase stands for many spoken ones."""

import random
import re
from collections.abc import Iterable, Mapping, Sequence

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)\}")


def slots_in(template: str) -> frozenset[str]:
    """Say which slots a template needs, because it may be used only where they are known."""
    return frozenset(_SLOT.findall(template))


def usable(templates: Iterable[str], known: Mapping[str, str]) -> list[str]:
    """Keep the templates whose slots are all known: an answer may not mention what nobody said."""
    return [t for t in templates if slots_in(t) <= known.keys()]


def expand(template: str, rng: random.Random, known: Mapping[str, str]) -> str:
    """Resolve ``[this|that]`` at random and fill ``{slots}``: variety without a longer list."""
    text = template
    while match := _CHOICE.search(text):
        choice = rng.choice(match.group(1).split("|"))
        text = text[: match.start()] + choice + text[match.end() :]
    return _SLOT.sub(lambda m: known[m.group(1)], text)


def pick(templates: Sequence[str], rng: random.Random, known: Mapping[str, str]) -> str:
    """Choose among the usable templates and fill it in one step, since nobody needs the template."""
    return expand(rng.choice(usable(templates, known)), rng, known)


def sentence_case(text: str) -> str:
    """Capitalise the first letter only, because names inside must keep theirs."""
    return text[:1].upper() + text[1:]


def join(*parts: str) -> str:
    """Join sentences with single spaces, skipping the empty ones that optional parts leave."""
    return " ".join(part for part in parts if part)
