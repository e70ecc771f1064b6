"""What may stop a PPO run from outside: somebody who looks at the policy now and then and knows other people."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol


class Good(NamedTuple):
    """A policy to go back to."""

    iteration: int
    """How many iterations had made it; 0: the run's start."""
    folder: Path


class Tripwire(Protocol):
    """Looks at the policy between two iterations. A run that is resumed shows it some of them again."""

    def look(self, iteration: int, planned: int, policy: Callable[[], Path]) -> str | None:
        """Why the run must stop, None while it may go on; `policy` writes the adapter as it is now, if it is wanted."""
        ...

    def good(self) -> Good:
        """The best policy it has seen; asked for only after it has stopped a run."""
        ...
