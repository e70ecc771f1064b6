"""Simulated people: customers who chat and sometimes vote, agents who sometimes correct.

They know nothing but the public API, through the SDK. What they think of an answer is the hidden
satisfaction; all that ever leaves them is a thumb, now and then a reason, and a few corrections.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from thumbwheel import AsyncClient, ThumbwheelError
from thumbwheel.chat import ChatResult
from thumbwheel_demo.corpus.model import Scenario
from thumbwheel_demo.satisfaction import Satisfaction, correct, judge

Vote = Literal["up", "down"]
PROPER_ENDS = frozenset({"stop", "length"})


@dataclass(frozen=True)
class PeopleSettings:
    """Who these people are; the same seed gives the same people with the same habits.

    ``votes`` is the share of chats that get a thumb while half of the answers are good; annoyed customers
    vote ``annoyed`` times as often as content ones, so the share falls as answers get better. ``noise`` is
    the share of votes that say the opposite of what the customer thinks. ``corrections`` is the share of bad
    answers that an agent rewrites. ``shuffle_votes`` deals the votes (and their absence) out at random:
    the same thumbs, without information.
    """

    seed: int = 0
    noise: float = 0.1
    votes: float = 0.4
    annoyed: float = 2.0
    corrections: float = 0.1
    reasons: float = 0.3
    shuffle_votes: bool = False
    agents: int = 4
    concurrency: int = 96
    max_tokens: int = 96
    stream_share: float = 0.25


@dataclass(frozen=True)
class Chat:
    """One chat as the people saw it; ``verdict`` is their secret."""

    scenario: Scenario
    text: str = ""
    completion_id: str = ""
    policy_version: str = ""
    finish_reason: str | None = None
    seconds: float = 0.0
    streamed: bool = False
    verdict: Satisfaction | None = None
    vote: Vote | None = None
    correction: str | None = None
    error: str | None = None

    @property
    def lost(self) -> bool:
        """Say whether the customer got no answer at all."""
        return self.error is not None

    @property
    def cut(self) -> bool:
        """Say whether an answer stopped for another reason than its own end or the asked-for limit."""
        return not self.lost and self.finish_reason not in PROPER_ENDS


def reasons_of(verdict: Satisfaction) -> list[str]:
    """Put an annoyed customer's thoughts into the usual labels."""
    labels = {
        "incorrect": not verdict.solved or not verdict.honest,
        "incomplete": not verdict.complete,
        "style": not (verdict.kind and verdict.brief and verdict.polite),
    }
    return [label for label, holds in labels.items() if holds]


def habit(purpose: str, chat: Chat, settings: PeopleSettings) -> random.Random:
    """Tie each decision to the conversation, so that the order of arrival changes nothing."""
    return random.Random(f"{purpose}-{settings.seed}-{chat.scenario.id}")


def thumb_of(chat: Chat, settings: PeopleSettings) -> Vote | None:
    """Decide whether a customer votes, and how; annoyed ones more often, some by mistake."""
    if chat.verdict is None:
        return None
    rng = habit("vote", chat, settings)
    content = 2.0 * settings.votes / (1.0 + settings.annoyed)
    chance = content if chat.verdict.satisfied else content * settings.annoyed
    if rng.random() >= chance:
        return None
    mistaken = rng.random() < settings.noise
    return "up" if chat.verdict.satisfied != mistaken else "down"


class People:
    """A crowd around one service. Failed calls end up in the chat they belong to, never as an exception."""

    def __init__(self, client: AsyncClient, settings: PeopleSettings | None = None) -> None:
        self.client = client
        self.settings = settings or PeopleSettings()
        self._deck: tuple[Vote | None, ...] | None = None

    async def wave(self, scenarios: Sequence[Scenario], on_chat: Callable[[Chat], None] | None = None) -> list[Chat]:
        """Let every scenario's customer chat and react, a bounded number at a time, in the order given."""
        gate = asyncio.Semaphore(self.settings.concurrency)

        async def one(scenario: Scenario) -> Chat:
            async with gate:
                chat = await self._ask(scenario, None, store=True)
                if not self.settings.shuffle_votes:
                    chat = await self._react(chat, self.vote_on(chat))
            if on_chat:
                on_chat(chat)
            return chat

        chats = list(await asyncio.gather(*(one(s) for s in scenarios)))
        return await self._shuffled(chats) if self.settings.shuffle_votes else chats

    async def examine(
        self,
        scenarios: Sequence[Scenario],
        model: str | None = None,
        on_chat: Callable[[Chat], None] | None = None,
    ) -> list[Chat]:
        """Ask without a trace, for the report: nothing is stored, nobody votes, the learner never knows."""
        gate = asyncio.Semaphore(self.settings.concurrency)

        async def one(scenario: Scenario) -> Chat:
            async with gate:
                chat = await self._ask(scenario, model, store=False)
            if on_chat:
                on_chat(chat)
            return chat

        return list(await asyncio.gather(*(one(s) for s in scenarios)))

    def vote_on(self, chat: Chat) -> Vote | None:
        """Decide whether this customer votes, and how; annoyed ones more often, some by mistake."""
        return thumb_of(chat, self.settings)

    async def _ask(self, scenario: Scenario, model: str | None, *, store: bool) -> Chat:
        started = time.monotonic()
        try:
            answer = await self._call(scenario, model, store)
        except ThumbwheelError as error:
            return Chat(scenario, seconds=time.monotonic() - started, error=f"{type(error).__name__}: {error}")
        return Chat(
            scenario,
            text=answer.text,
            completion_id=answer.completion_id,
            policy_version=answer.policy_version,
            finish_reason=answer.choices[0].finish_reason if answer.choices else None,
            seconds=time.monotonic() - started,
            streamed=self._streams(scenario),
            verdict=judge(scenario, answer.text),
        )

    def _streams(self, scenario: Scenario) -> bool:
        return random.Random(f"stream-{self.settings.seed}-{scenario.id}").random() < self.settings.stream_share

    async def _call(self, scenario: Scenario, model: str | None, store: bool) -> ChatResult:
        rng = random.Random(f"chat-{self.settings.seed}-{scenario.id}")
        messages = [dict(m) for m in scenario.messages]
        seed = rng.randrange(2**31)
        user = scenario.customer if store else None
        limit = self.settings.max_tokens
        if not self._streams(scenario):
            return await self.client.chat(
                messages, model=model, user=user, temperature=1.0, max_tokens=limit, seed=seed, store=store
            )
        stream = await self.client.chat(
            messages, stream=True, model=model, user=user, temperature=1.0, max_tokens=limit, seed=seed, store=store
        )
        async with stream:
            return await stream.result()

    async def _react(self, chat: Chat, vote: Vote | None) -> Chat:
        """Send the thumb and, for a few bad answers, an agent's correction."""
        if chat.verdict is None:
            return chat
        rng = self._rng("react", chat)
        text = None
        if not chat.verdict.satisfied and rng.random() < self.settings.corrections:
            text = correct(chat.scenario, rng)
        explains = vote == "down" and rng.random() < self.settings.reasons and not self.settings.shuffle_votes
        try:
            if vote is not None:
                await self.client.feedback.thumb(
                    chat.completion_id,
                    vote,
                    user=chat.scenario.customer,
                    reasons=reasons_of(chat.verdict) if explains else [],
                )
            if text is not None:
                agent = f"agent-{rng.randrange(self.settings.agents)}"
                await self.client.feedback.correction(chat.completion_id, text, user=agent)
        except ThumbwheelError as error:
            return replace(chat, error=f"{type(error).__name__}: {error}")
        return replace(chat, vote=vote, correction=text)

    async def _shuffled(self, chats: list[Chat]) -> list[Chat]:
        """Deal out votes at random; later waves draw from the first, so that no wave's quality shows."""
        rng = random.Random(f"shuffle-{self.settings.seed}-{chats[0].scenario.id if chats else ''}")
        if self._deck is None:
            self._deck = tuple(self.vote_on(chat) for chat in chats)
            dealt: Sequence[Vote | None] = rng.sample(self._deck, len(self._deck))
        else:
            dealt = rng.choices(self._deck or (None,), k=len(chats))
        gate = asyncio.Semaphore(self.settings.concurrency)

        async def one(chat: Chat, vote: Vote | None) -> Chat:
            async with gate:
                return await self._react(chat, vote)

        return list(await asyncio.gather(*(one(c, v) for c, v in zip(chats, dealt, strict=True))))

    def _rng(self, purpose: str, chat: Chat) -> random.Random:
        return habit(purpose, chat, self.settings)
