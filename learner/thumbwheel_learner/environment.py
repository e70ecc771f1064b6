"""How a variable of the environment becomes a value, or an error that names it."""

import math
from collections.abc import Callable, Mapping
from typing import TypeVar

from thumbwheel.errors import ConfigurationError

PREFIX = "THUMBWHEEL_"
N = TypeVar("N", int, float)


class BadSetting(ConfigurationError):
    """A setting is missing or wrong; the message names the variable and says how to mend it."""


def listed(given: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Words separated by commas, each once."""
    return tuple(dict.fromkeys(part.strip() for part in given.get(name, "").split(",") if part.strip()))


def number(
    given: Mapping[str, str],
    name: str,
    kind: Callable[[str], N],
    default: N,
    *,
    lowest: float = 0,
    highest: float = 1e15,
) -> N:
    """A number within bounds; raises `BadSetting`."""
    try:
        value = kind(given[name]) if name in given else default
    except ValueError as error:
        raise BadSetting(f"{PREFIX}{name} must be a number, not {given[name]!r}") from error
    if math.isnan(value) or not lowest <= value <= highest:
        raise BadSetting(f"{PREFIX}{name} must lie between {lowest:g} and {highest:g}, not {value}")
    return value


def one_of(given: Mapping[str, str], name: str, allowed: tuple[str, ...], default: str) -> str:
    """One of a few words; raises `BadSetting`."""
    value = given.get(name, default)
    if value not in allowed:
        raise BadSetting(f"{PREFIX}{name} must be {' or '.join(allowed)}, not {value!r}")
    return value
