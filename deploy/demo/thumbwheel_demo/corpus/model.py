"""The nouns of the corpus: what an intent is, and what one conversation asks for."""

from dataclasses import dataclass, field
from typing import Literal, TypedDict

Split = Literal["train", "live", "heldout"]
Stage = Literal["single", "ask", "resolve"]


class ChatMessage(TypedDict):
    """One turn in the shape every chat API takes."""

    role: str
    content: str


@dataclass(frozen=True)
class Intent:
    """One thing customers want, with the one policy fact that settles it.

    ``solved`` holds patterns that must all match somewhere in an answer that settles it; they describe
    clauses, not words, so that a list of keywords does not pass.
    """

    name: str
    asks: tuple[str, ...]
    held: tuple[str, ...]
    right: tuple[str, ...]
    wrong: tuple[str, ...]
    solved: tuple[str, ...]
    needs: str | None = None
    must: tuple[str, ...] = ()
    problem: bool = False


@dataclass(frozen=True)
class Scenario:
    """One conversation up to the customer's last message; what follows is the policy's to say."""

    id: str
    split: Split
    intent: str
    stage: Stage
    messages: tuple[ChatMessage, ...]
    slots: dict[str, str] = field(default_factory=dict[str, str])
    customer: str = ""
    phrasing: str = ""

    @property
    def conversation(self) -> str:
        """All that has been said, which is all that an answer may repeat as fact."""
        return "\n".join(m["content"] for m in self.messages)
