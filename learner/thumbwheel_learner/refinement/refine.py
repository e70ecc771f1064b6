"""The refinement step: a policy that writes a criticised answer anew, and what becomes of its answers.

Imitation learning from language feedback (Scheurer et al. 2023, arXiv:2303.16755): people's corrections, with the
critiques that led to them, teach the step; it then answers critiques that nobody followed up. Here the reward model of
the same run, not a likelihood, says which of its answers are good enough to learn from.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from thumbwheel_learner.dataset.examples import Snapshot
from thumbwheel_learner.files import write_atomically
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.model.tokens import ChatTokenizer, fit
from thumbwheel_learner.progress import Progress, silent
from thumbwheel_learner.refinement.requests import Request, Taught, requests_of
from thumbwheel_learner.reward.labels import Item, Row, prompt_key
from thumbwheel_learner.reward.model import RewardScores
from thumbwheel_learner.rollouts.engine import Rollout, RolloutEngine
from thumbwheel_learner.sft import NoDemonstrations, SftConfig, train_rows


@dataclass(frozen=True, kw_only=True)
class RefinementConfig:
    """When the step is trained, what it is asked, and how much its answers weigh."""

    on: bool = False
    sft: SftConfig = field(default_factory=SftConfig)
    """Its own training, on top of the live policy."""
    min_taught: int = 20
    """With fewer corrections it is left out."""
    requests: int = 500
    """The newest critiques that it answers, at most."""
    answers: int = 4
    """Sampled for each."""
    max_tokens: int = 128
    max_prompt: int = 512
    temperature: float = 0.7
    weight: float = 0.3
    """Of a pair (its answer over the criticised one) beside a person's."""
    margin: float = 0.0
    """An answer is learned from if its reward exceeds the criticised one's by so much, the members' spread off."""
    seed: int = 0


class Refined(Struct, frozen=True, kw_only=True):
    """A criticised answer and what the step wrote instead; several, distinct, in the order sampled."""

    request: Request
    answers: list[str]


class Scorer(Protocol):
    """A reward model, as far as this step needs it."""

    def score(self, prompts: Sequence[Sequence[int]], answers: Sequence[str]) -> RewardScores:
        """Scores of answer texts after prompt ids."""
        ...


def refine(
    model: PolicyModel,
    start: Path | None,
    snapshot: Snapshot,
    engine: RolloutEngine,
    config: RefinementConfig,
    folder: Path,
    *,
    progress: Progress = silent,
) -> tuple[list[Refined], dict[str, Any]]:
    """Train the step from `start` in `folder`, let it answer the critiques, keep the answers in a file there.

    Returns them with plain figures. Raises `NoDemonstrations` with too few corrections, or where the step learned
    nothing: its likelihood of corrections that it did not see is no better than the live policy's.
    """
    taught, asked = requests_of(snapshot)
    if len(taught) < config.min_taught:
        raise NoDemonstrations(f"{len(taught)} corrections teach the refinement step, it takes {config.min_taught}")
    if not asked:
        raise NoDemonstrations("there is no critique without a correction to write an answer for")
    rows = rows_of(taught, model.tokens, config.max_prompt + config.max_tokens)
    adapter, report = train_rows(model, start, rows, config.sft, folder / "adapter", progress=progress)
    before, after = report.held_out_before, report.held_out_after
    if before is not None and after is not None and after >= before:
        raise NoDemonstrations(f"the refinement step learned nothing: held-out loss {before:.3f}, then {after:.3f}")
    asked = asked[-config.requests :]
    prompts = [request_ids(request, model.tokens, config.max_prompt) for request in asked]
    said = engine.sample(
        adapter,
        prompts,
        n=config.answers,
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        seed=config.seed,
    )
    found = [Refined(request=r, answers=distinct(r, answers)) for r, answers in zip(asked, said, strict=True)]
    found = [one for one in found if one.answers]
    model.world.from_first(lambda: write_atomically(folder / "refined.json", msgspec.json.encode(found)))
    figures = {"taught": len(taught), "asked": len(asked), "answered": len(found), "training": report.as_dict()}
    return found, figures


def read_refined(folder: Path) -> list[Refined]:
    """What `refine` left in its folder."""
    return msgspec.json.decode((folder / "refined.json").read_bytes(), type=list[Refined])


def rows_of(taught: Sequence[Taught], tokens: ChatTokenizer, max_length: int) -> list[Row]:
    """Requests with their corrections, to train on."""
    pairs = ((tokens.prompt_ids(t.request.as_messages()), tokens.answer_ids(t.better)) for t in taught)
    return [Row(*fit(prompt, answer, max_length)) for prompt, answer in pairs]


def request_ids(request: Request, tokens: ChatTokenizer, longest: int) -> list[int]:
    """A request as the step reads it; of one that is too long the beginning goes, the critique stays."""
    return tokens.prompt_ids(request.as_messages())[-longest:]


def distinct(request: Request, answers: Sequence[Rollout]) -> list[str]:
    """Answers that came to their end, each once, and not the criticised one over again."""
    texts = dict.fromkeys(answer.text.strip() for answer in answers if answer.finished)
    return [text for text in texts if text and text != request.answer.strip()]


def pairs_of(refined: Sequence[Refined], tokens: ChatTokenizer, config: RefinementConfig, longest: int) -> list[Item]:
    """The first answer to each critique over the criticised one, for `train_reward`, under no person's id."""
    items: list[Item] = []
    for one in refined:
        request = one.request
        prompt = tokens.prompt_ids(request.messages)
        rows = tuple(Row(*fit(prompt, tokens.answer_ids(text), longest)) for text in (one.answers[0], request.answer))
        items.append(
            Item(
                "pair",
                rows,
                1.0,
                f"refiner:{request.user}",
                request.conversation_id,
                request.created_ms,
                prompt_key(request.messages),
                config.weight,
            )
        )
    return items


def demonstrations_of(
    refined: Sequence[Refined], reward: Scorer, tokens: ChatTokenizer, config: RefinementConfig, longest: int
) -> list[Row]:
    """Of each critique the answer that the reward likes best, for SFT, if it is better than the criticised one."""
    prompts = [tokens.prompt_ids(one.request.messages) for one in refined for _ in (one.request.answer, *one.answers)]
    texts = [text for one in refined for text in (one.request.answer, *one.answers)]
    members = reward.score(prompts, texts).members
    rows: list[Row] = []
    at = 0
    for one in refined:
        gains = members[at + 1 : at + 1 + len(one.answers)] - members[at]
        sure = gains.mean(dim=1) - gains.std(dim=1, correction=0)
        best = int(sure.argmax())
        if float(sure[best]) > config.margin:
            rows.append(Row(*fit(prompts[at], tokens.answer_ids(one.answers[best]), longest)))
        at += 1 + len(one.answers)
    return rows
