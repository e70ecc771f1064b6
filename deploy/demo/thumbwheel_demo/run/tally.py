"""Every chat of a run is counted here: what was asked, what came back whole, and who answered."""

import time
from collections import Counter
from collections.abc import Callable, Sequence

from thumbwheel_demo.people import PROPER_ENDS, Chat
from thumbwheel_demo.report.record import ChatCounts, Tick

SLICE_S = 5.0


class Tally:
    """Counts chats and feedback as they end; the clock starts with it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self._chats = Counter[str]()
        self._errors = Counter[str]()
        self._first_errors: dict[str, str] = {}
        self._by_version = Counter[str]()
        self._slices: dict[int, Counter[str]] = {}
        self._feedback = Counter[str]()

    def seconds(self) -> float:
        """Since the run began."""
        return self._clock() - self._started

    def add(self, chat: Chat) -> None:
        """Count one chat that has come to its end, good or bad."""
        self._chats["total"] += 1
        if chat.verdict is None:
            kind = self._failed("", chat.error)
            self._chats["truncated" if kind == "StreamBroken" else "lost"] += 1
            return
        self._chats["truncated"] += chat.finish_reason not in PROPER_ENDS
        self._chats["streamed"] += chat.streamed
        self._chats["to_length"] += chat.finish_reason == "length"
        self._by_version[chat.policy_version] += 1
        self._slices.setdefault(int(self.seconds() // SLICE_S), Counter())[chat.policy_version] += 1

    def add_feedback(self, chats: Sequence[Chat]) -> None:
        """Count what was acknowledged of the feedback on finished chats, and what was refused."""
        for chat in chats:
            if chat.verdict is not None and chat.error is not None:
                self._failed("feedback ", chat.error)
                continue
            if chat.vote is not None:
                self._feedback[f"thumb {chat.vote}"] += 1
            if chat.correction is not None:
                self._feedback["correction"] += 1

    def _failed(self, what: str, error: str | None) -> str:
        """Count an error and keep the first of its kind; returns the kind."""
        kind = (error or "").partition(":")[0]
        self._errors[what + kind] += 1
        self._first_errors.setdefault(what + kind, f"at {self.seconds():.0f} s: {error}")
        return kind

    @property
    def total(self) -> int:
        """Chats so far."""
        return self._chats["total"]

    @property
    def labels(self) -> int:
        """Pieces of feedback acknowledged so far."""
        return self._feedback.total()

    def counts(self) -> ChatCounts:
        """The figures so far."""
        return ChatCounts(
            total=self._chats["total"],
            lost=self._chats["lost"],
            truncated=self._chats["truncated"],
            streamed=self._chats["streamed"],
            to_length=self._chats["to_length"],
            by_version=dict(self._by_version),
            errors=dict(self._errors),
            first_errors=dict(self._first_errors),
        )

    def feedback(self) -> dict[str, int]:
        """Acknowledged feedback by kind and value."""
        return dict(self._feedback)

    def timeline(self) -> list[Tick]:
        """Answered chats per slice of time, without gaps."""
        if not self._slices:
            return []
        return [Tick(i * SLICE_S, dict(self._slices.get(i, {}))) for i in range(max(self._slices) + 1)]
