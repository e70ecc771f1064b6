"""From a snapshot to what a reward model trains on: labelled token rows, split by time or by who said it."""

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import msgspec

from thumbwheel_learner.dataset.examples import Judged, Messages, Pair, Snapshot
from thumbwheel_learner.model.tokens import Batch, ChatTokenizer, fit, make_batch

Kind = Literal["thumb", "rating", "flag", "outcome", "pair"]
L = TypeVar("L", Judged, Pair)


@dataclass(frozen=True)
class Row:
    """One answer in its conversation, as tokens; the answer ends with the end-of-turn token."""

    prompt: list[int]
    answer: list[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


def batch_of(rows: Sequence[Row], pad_id: int) -> Batch:
    """Rows as one padded batch."""
    return make_batch([row.prompt for row in rows], [row.answer for row in rows], pad_id=pad_id)


@dataclass(frozen=True)
class Item:
    """One judgement on one row, or on two and more (chosen first)."""

    kind: Kind
    rows: tuple[Row, ...]
    value: float
    """thumb: 1 up, 0 down; rating: 1 to 5; flag: 0; outcome: 1 good, 0 bad; pair: P(first preferred), 0.5 for a tie."""
    user: str
    conversation: str
    created_ms: int
    prompt_key: str
    weight: float = 1.0
    random: bool = False
    """Asked for, about a conversation that was drawn at random."""
    event: str = ""
    """Of the feedback; empty where no person said it."""


def prompt_key(messages: Messages) -> str:
    """Equal for equal conversations, whoever held them."""
    return hashlib.sha256(msgspec.json.encode(messages, order="deterministic")).hexdigest()[:16]


def items_of(snapshot: Snapshot, tokens: ChatTokenizer, max_length: int, outcomes: Sequence[str] = ()) -> list[Item]:
    """Every judged answer, every pair, and those outcomes that are named, oldest first; each prompt is tokenised once.

    An outcome that is true is good, with a minus before its name bad. Its name stands for its user, so that a user's
    bias is that of the outcome: some matters are seldom solved, whatever is said.
    """
    prompts: dict[str, list[int]] = {}

    def row(messages: Messages, key: str, text: str) -> Row:
        if key not in prompts:
            prompts[key] = tokens.prompt_ids(messages)
        return Row(*fit(prompts[key], tokens.answer_ids(text), max_length))

    items: list[Item] = []
    for judged in snapshot.judged:
        key = prompt_key(judged.messages)
        rows = (row(judged.messages, key, judged.answer),)
        item = Item(judged.kind, rows, judged.value, judged.user, judged.conversation_id, judged.created_ms, key)
        items.append(replace(item, random=judged.random_slice, event=judged.event_id))
    good = {name.removeprefix("-"): not name.startswith("-") for name in outcomes}
    for came in snapshot.outcomes:
        if came.name not in good or not isinstance(came.value, bool):
            continue
        key = prompt_key(came.messages)
        rows, value = (row(came.messages, key, came.answer),), float(came.value == good[came.name])
        user = f"outcome:{came.name}"
        items.append(
            Item("outcome", rows, value, user, came.conversation_id, came.created_ms, key, event=came.event_id)
        )
    for pair in snapshot.pairs:
        key = prompt_key(pair.messages)
        rows = (row(pair.messages, key, pair.chosen), row(pair.messages, key, pair.rejected))
        value = 0.5 if pair.tie else 1.0
        item = Item("pair", rows, value, pair.user, pair.conversation_id, pair.created_ms, key)
        items.append(replace(item, random=pair.random_slice, event=pair.event_id))
    return sorted(items, key=lambda i: i.created_ms)


def weighted(items: Sequence[Item], users: Mapping[str, float], events: Mapping[str, float]) -> list[Item]:
    """The items, each as heavy as its user (`voters.weigh`) times what it stands for (`propensity.votes`); what is not
    named weighs 1."""
    return [replace(i, weight=i.weight * users.get(i.user, 1.0) * events.get(i.event, 1.0)) for i in items]


def split_by_time(items: Sequence[Item], held_out: float) -> tuple[list[Item], list[Item]]:
    """Train on the past, test on the future: the last `held_out` share by time, whole conversations at a time.

    A conversation belongs to the side of its first label, so that no conversation is on both.
    """
    ordered = sorted(items, key=lambda i: i.created_ms)
    cut = round(len(ordered) * (1 - held_out))
    early = {i.conversation for i in ordered[:cut]}
    return [i for i in ordered if i.conversation in early], [i for i in ordered if i.conversation not in early]


def apart_from(items: Sequence[Item], held_out: Sequence[Item]) -> list[Item]:
    """Those that share neither conversation nor prompt with what is held out."""
    conversations, prompts = {i.conversation for i in held_out}, {i.prompt_key for i in held_out}
    return [i for i in items if i.conversation not in conversations and i.prompt_key not in prompts]


def mismatched(items: Sequence[Item], rows: int, max_length: int, generator: random.Random) -> list[Item]:
    """The items, each pair with up to `rows` rejected rows more: what was preferred in other conversations.

    Thumbs say little about whether an answer fits its question, since a policy seldom answers another one; where the
    reward model has not learned it, PPO finds out. Answers that share more than half of their tokens may well be right
    in both places and are left out; so are ties.
    """
    preferred = [i for i in items if i.kind == "pair" and i.value == 1.0]

    def extended(item: Item) -> Item:
        own = set(item.rows[0].answer)
        others = [o for o in preferred if o.prompt_key != item.prompt_key and not _alike(own, set(o.rows[0].answer))]
        drawn = generator.sample(others, min(rows, len(others)))
        rejected = (Row(*fit(item.rows[0].prompt, o.rows[0].answer, max_length)) for o in drawn)
        return replace(item, rows=(*item.rows, *rejected))

    return [extended(i) if i.kind == "pair" and i.value == 1.0 else i for i in items]


def _alike(one: set[int], other: set[int]) -> bool:
    return len(one & other) * 2 > len(one | other)


@dataclass(frozen=True)
class Evidence:
    """A snapshot cut in two that share no user, conversation or prompt where the data allows it."""

    training: Snapshot
    """Reward model, SFT and PPO see only this."""
    judge: Snapshot
    """The gate's judge, the gate's prompts, and the demonstrations that no policy is taught."""
    disjoint: tuple[str, ...]
    """What the halves really do not share: of user (or voter, where only agents are shared), conversation, prompt."""


def split_evidence(snapshot: Snapshot, judge_share: float, *, seed: int = 0) -> Evidence:
    """Cut by the person whose conversation it is, by a hash, so that a person stays on one side for good.

    Prompts (equal messages) and people found on both sides are taken from the judge. Where that would leave it with
    less than half of its pairs, because the same few agents correct everybody's answers, or of its other labels, the
    people behind those are shared; so is everybody where one person holds more than half of all labels. `disjoint` says
    so.
    """
    owner = _owners(snapshot)
    held = Counter(owner(x.conversation_id) for x in (*snapshot.judged, *snapshot.pairs))
    crowded = bool(held) and max(held.values()) * 2 > held.total()

    def to_judge(conversation: str) -> bool:
        key = conversation if crowded else owner(conversation)
        digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
        return int.from_bytes(digest[:8]) / 2**64 < judge_share

    training = _part(snapshot, lambda conversation, _: not to_judge(conversation))
    shown = (*training.judged, *training.pairs, *training.demos, *training.critiques, *training.outcomes)
    seen = {prompt_key(x.messages) for x in (*shown, *training.prompts)}
    judge = _part(snapshot, lambda conversation, messages: to_judge(conversation) and prompt_key(messages) not in seen)
    if crowded:
        return Evidence(training, judge, ("conversation", "prompt"))
    people = {x.user for x in (*training.judged, *training.pairs, *training.demos)}
    judged, pairs = _by_others(judge.judged, people), _by_others(judge.pairs, people)
    alone = msgspec.structs.replace(judge, judged=judged, pairs=pairs, critiques=[], outcomes=[])
    strangers = all(x.user not in people for x in judged)
    person = () if not strangers else ("user",) if all(x.user not in people for x in pairs) else ("voter",)
    return Evidence(training, alone, (*person, "conversation", "prompt"))


def _owners(snapshot: Snapshot) -> Callable[[str], str]:
    """Conversation -> its person: the end user of the chat, else who judged it first, else the conversation itself."""
    found: dict[str, str] = {}
    for prompt in snapshot.prompts:
        if prompt.user is not None:
            found.setdefault(prompt.conversation_id, prompt.user)
    for judged in sorted(snapshot.judged, key=lambda j: (j.created_ms, j.event_id)):
        found.setdefault(judged.conversation_id, judged.user)
    return lambda conversation: found.get(conversation, conversation)


def _by_others(labels: list[L], people: set[str]) -> list[L]:
    """Without those of these people, unless they gave most of them."""
    others = [x for x in labels if x.user not in people]
    return others if len(others) * 2 >= len(labels) else labels


def _part(snapshot: Snapshot, keep: Callable[[str, Messages], bool]) -> Snapshot:
    return msgspec.structs.replace(
        snapshot,
        pairs=[x for x in snapshot.pairs if keep(x.conversation_id, x.messages)],
        judged=[x for x in snapshot.judged if keep(x.conversation_id, x.messages)],
        demos=[x for x in snapshot.demos if keep(x.conversation_id, x.messages)],
        critiques=[x for x in snapshot.critiques if keep(x.conversation_id, x.messages)],
        outcomes=[x for x in snapshot.outcomes if keep(x.conversation_id, x.messages)],
        prompts=[x for x in snapshot.prompts if keep(x.conversation_id, x.messages)],
    )
