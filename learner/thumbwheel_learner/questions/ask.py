"""After each refresh of the reward model: what is worth asking now, and which open questions are not any more.

How questions are scored and put together: docs/algorithms/acquisition.md.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch and numpy are partial; what leaves this file is typed)

import hashlib
import logging
import math
import statistics
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Engine

from thumbwheel.events import Envelope, ReviewAsked, new_id, now_ms, wrap
from thumbwheel.sealed import ReviewTexts, seal_review
from thumbwheel_learner.dataset.keys import KeySource
from thumbwheel_learner.measures import Array
from thumbwheel_learner.model.tokens import fit
from thumbwheel_learner.questions.acquisition import Pool, rank
from thumbwheel_learner.questions.known import Known
from thumbwheel_learner.questions.pool import Chat, Recent, Waiting, recent
from thumbwheel_learner.questions.settings import QuestionSettings
from thumbwheel_learner.reward.labels import Row
from thumbwheel_learner.reward.model import RewardModel
from thumbwheel_learner.rollouts.engine import RolloutEngine
from thumbwheel_learner.store import questions
from thumbwheel_learner.store.session import reading

log = logging.getLogger(__name__)
DAY_MS = 86_400_000
CANDIDATES = 3
"""Second answers are sampled for so many chats per comparison that is wanted."""
TEMPERATURE = 1.0


class Sampling(NamedTuple):
    """Where the second answers of comparisons come from."""

    engine: RolloutEngine
    adapter: Path | None
    """Of the live policy; None: the bare base."""
    max_prompt: int
    max_tokens: int


class Picked(NamedTuple):
    """A question that was not there yet."""

    chat: Chat
    other_answer: str | None
    score: float
    random: bool


class Budget(NamedTuple):
    """What may be asked now."""

    drawn: int
    """Of the random slice."""
    known: int
    """With a known answer."""
    chosen: int
    """By their scores, beside the open ones."""


@dataclass(frozen=True, kw_only=True)
class Asking:
    """Chooses questions and keeps them; `questions.board` tells the bus."""

    engine: Engine
    keys: KeySource
    settings: QuestionSettings
    known: Known = field(default_factory=dict[str, bool])
    wake: Callable[[], None] = lambda: None
    """Called when there is something to tell."""
    clock: Callable[[], int] = now_ms

    def ask(self, reward: RewardModel, reward_id: str, sampling: Sampling | None, *, seed: int) -> dict[str, Any]:
        """Look at the recent chats once; returns figures without anybody's words. Raises `KeysAway`.

        All that changes is one transaction: a learner that is killed has asked either nothing or everything, and the
        budget counts what lies in the database. Without `sampling` no comparison is added.
        """
        now = self.clock()
        questions.expire(self.engine, now)
        there = recent(self.engine, self.keys, self.settings.pool, self.known)
        budget = self._budget(now, len(there.known))
        aside = [chat for chat in there.chats if is_aside(chat.conversation, self._share)]
        drawn = draw(aside, budget.drawn, self._seeded(seed, 0))
        rest = [chat for chat in there.chats if not is_aside(chat.conversation, self._share)]
        picked, kept = self._choose(reward, there, rest, budget.chosen, sampling, seed)
        usual = statistics.median_low([one.score for one in picked]) if picked else 0.0
        traps = [Picked(chat, None, usual, False) for chat in one_each(there.known, drawn, picked)[: budget.known]]
        picked = [*(Picked(chat, None, 0.0, True) for chat in drawn), *traps, *picked]
        withdrawn = {*there.lost, *(w.review_id for w in there.waiting if w.review_id not in kept)}
        asked = [self._event(one, reward_id, now) for one in picked]
        count = questions.change(self.engine, asked, withdrawn)
        self.wake()
        return {
            "looked_at": len(there.chats),
            "asked": count,
            "random": len(drawn),
            "known": len(traps),
            "comparisons": sum(one.other_answer is not None for one in picked),
            "withdrawn": len(withdrawn),
            "open": len(kept) + there.pinned + count,
        }

    @property
    def _share(self) -> float:
        """Everything is of the random slice where everything is random."""
        return 1.0 if self.settings.acquisition == "random" else self.settings.random_share

    def _budget(self, now: int, known: int) -> Budget:
        """What is left of the last 24 hours' budget; the random slice gets its share of the whole first."""
        with reading(self.engine) as session:
            claimed = questions.claimed_since(session, now - DAY_MS)
        whole = max(self.settings.per_day, len(claimed))
        left = max(0, self.settings.per_day - len(claimed))
        drawn = min(left, max(0, _part(self._share, whole) - sum(random for _, random in claimed)))
        asked = sum(completion in self.known for completion, _ in claimed)
        traps = min(left - drawn, known, max(0, _part(self.settings.known_share, whole) - asked))
        return Budget(drawn, traps, left - drawn - traps)

    def _choose(
        self,
        reward: RewardModel,
        there: Recent,
        rest: Sequence[Chat],
        new: int,
        sampling: Sampling | None,
        seed: int,
    ) -> tuple[list[Picked], set[str]]:
        """New questions by their scores, and the open ones that are among the best still; comparisons come first."""
        slots = new + len(there.waiting)
        wanted = round(self.settings.compare_share * slots)
        pairs = [w for w in there.waiting if w.other_answer is not None]
        fresh = [] if sampling is None else self._sampled(reward, rest, wanted, sampling, seed)
        picked, kept, taken = self._best(reward, pairs, fresh, wanted, set(), seed)
        single = [w for w in there.waiting if w.other_answer is None]
        left = slots - len(picked) - len(kept)
        more, stay, _ = self._best(reward, single, [(chat, None) for chat in rest], left, taken, seed)
        return [*picked, *more], kept | stay

    def _best(
        self,
        reward: RewardModel,
        waiting: Sequence[Waiting],
        fresh: Sequence[tuple[Chat, str | None]],
        budget: int,
        taken: Collection[tuple[str, str]],
        seed: int,
    ) -> tuple[list[Picked], set[str], set[tuple[str, str]]]:
        """Open and new questions of one kind in one ranking: (new ones, open ones that stay, their conversations)."""
        offered = [(w.chat, w.other_answer) for w in waiting] + list(fresh)
        at = [n for n, (chat, _) in enumerate(offered) if chat.conversation not in taken]
        if not at or budget <= 0:
            return [], set(), set(taken)
        pool = pool_of(reward, [offered[n] for n in at])
        positions, worth = rank(pool, self.settings.acquisition, budget=budget, seed=seed)
        best = [(at[i], float(worth[i])) for i in positions.tolist()]
        kept = {waiting[n].review_id for n, _ in best if n < len(waiting)}
        new = [(*offered[n], score) for n, score in best if n >= len(waiting)]
        picked = [Picked(chat, other, score, False) for chat, other, score in new]
        return picked, kept, {*taken, *(offered[n][0].conversation for n, _ in best)}

    def _sampled(
        self, reward: RewardModel, chats: Sequence[Chat], wanted: int, sampling: Sampling, seed: int
    ) -> list[tuple[Chat, str | None]]:
        """Chats with a second answer that is whole and not the first one, for chats drawn evenly."""
        tokens = reward.model.tokens
        some = draw([chat for chat in chats if not chat.redacted], CANDIDATES * wanted, self._seeded(seed, 1))
        if not some:
            return []
        prompts = [(chat.prompt_token_ids or tokens.prompt_ids(chat.messages))[-sampling.max_prompt :] for chat in some]
        sampled = sampling.engine.sample(
            sampling.adapter, prompts, n=1, max_tokens=sampling.max_tokens, temperature=TEMPERATURE, seed=seed
        )
        return [
            (chat, rollout.text)
            for chat, (rollout,) in zip(some, sampled, strict=True)
            if rollout.finished and rollout.text.strip() not in ("", chat.answer.strip())
        ]

    def _event(self, picked: Picked, reward_id: str, now: int) -> tuple[Envelope, ReviewAsked]:
        chat, review_id = picked.chat, new_id("rv")
        event = ReviewAsked(
            review_id=review_id,
            kind="judge" if picked.other_answer is None else "compare",
            conversation_id=chat.conversation_id,
            completion_id=chat.completion_id,
            acquisition="random" if picked.random else self.settings.acquisition,
            score=picked.score,
            random=picked.random,
            reward_model=reward_id,
            asked_ms=now,
            expires_ms=now + int(self.settings.expiry_hours * 3_600_000),
            box=seal_review(review_id, ReviewTexts(other_answer=picked.other_answer), chat.keys),
        )
        return wrap(event, tenant=chat.tenant, event_id=f"{review_id}/asked"), event

    def _seeded(self, seed: int, stream: int) -> np.random.Generator:
        return np.random.default_rng([seed, stream])


def is_aside(conversation: tuple[str, str], share: float) -> bool:
    """Whether a conversation is set aside for the random slice: `share` of all are, by a digest of their names.

    No score ever chooses among these, so that whenever one is drawn it stands for all there are.
    """
    digest = hashlib.sha256("\0".join(conversation).encode()).digest()
    return int.from_bytes(digest[:8]) < share * 2**64


def draw(chats: Sequence[Chat], count: int, rng: np.random.Generator) -> list[Chat]:
    """Conversations evenly without replacement, and a chat of each evenly."""
    if count <= 0 or not chats:
        return []
    found: dict[tuple[str, str], Chat] = {}
    for index in rng.permutation(len(chats)).tolist():
        found.setdefault(chats[index].conversation, chats[index])
    names = sorted(found)
    return [found[names[i]] for i in rng.permutation(len(names))[:count].tolist()]


def one_each(known: Sequence[Chat], drawn: Sequence[Chat], picked: Sequence[Picked]) -> list[Chat]:
    """Of the chats with a known answer one per conversation, and none where something else is asked."""
    taken = {chat.conversation for chat in drawn} | {one.chat.conversation for one in picked}
    found: list[Chat] = []
    for chat in known:
        if chat.conversation not in taken:
            taken.add(chat.conversation)
            found.append(chat)
    return found


def _part(share: float, whole: int) -> int:
    """Rounded up, but 20% of 30 is 6 whatever binary fractions say."""
    return math.ceil(round(share * whole, 9))


def pool_of(reward: RewardModel, offered: Sequence[tuple[Chat, str | None]]) -> Pool:
    """These questions as the acquisition functions want them: single answers, or pairs where all have a second one."""
    tokens, limit = reward.model.tokens, reward.config.max_length
    rows: list[Row] = []
    names: list[tuple[str, str]] = []
    pairs: list[tuple[int, int]] = []
    for chat, other in offered:
        prompt = chat.prompt_token_ids or tokens.prompt_ids(chat.messages)
        answers = [chat.answer] if other is None else [chat.answer, other]
        if other is not None:
            pairs.append((len(rows), len(rows) + 1))
        rows += [Row(*fit(prompt, tokens.answer_ids(text), limit)) for text in answers]
        names += [chat.conversation] * len(answers)
    return Pool(
        conversations=names,
        members=reward.score_rows(rows).members.T.double().numpy(),
        features=_standard(reward.vectors(rows).double().numpy()),
        pairs=np.array(pairs, dtype=np.intp) if pairs else None,
        offset=float(reward.offset),
        temperature=reward.temperature,
    )


def _standard(features: Array) -> Array:
    """[N, D] on like scales, the mean square of a row 1."""
    spread = features.std(axis=0)
    centred = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return centred / math.sqrt(max(1, features.shape[1]))
