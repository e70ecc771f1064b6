"""Chats as a snapshot holds them: some voted on, some asked about."""

from msgspec.structs import replace
from tests.learner_models import logged, snapshot, thumb

from thumbwheel_learner.dataset.examples import Judged, LoggedPrompt, Pair, Snapshot


def chat(n: int, answer: str, intent: str | None = None) -> LoggedPrompt:
    """The n-th logged answer."""
    return replace(logged(n, "where is my order"), answer=answer, intent=intent)


def asked(n: int, answer: str, *, up: bool, random: bool = True) -> Judged:
    """A question about the n-th chat, answered."""
    given = thumb(n, "where is my order", answer, up=up, user="reviewer")
    return replace(given, event_id=f"asked-{n}", review_id=f"review-{n}", random_slice=random)


def corrected(n: int, answer: str) -> Pair:
    """A question about the n-th chat, answered by saying it better."""
    return Pair(
        messages=logged(n, "where is my order").messages,
        chosen="sorry",
        rejected=answer,
        origin="correction",
        user="reviewer",
        conversation_id=f"conversation-{n}",
        created_ms=n,
        event_id=f"asked-{n}",
        review_id=f"review-{n}",
        random_slice=True,
    )


def voted(n: int, answer: str, *, up: bool) -> Judged:
    """The n-th chat's own thumb."""
    return thumb(n, "where is my order", answer, up=up)


def of(prompts: list[LoggedPrompt], judged: list[Judged], pairs: list[Pair] | None = None) -> Snapshot:
    """All of it."""
    return replace(snapshot(judged=judged, pairs=pairs or []), prompts=prompts)
