"""What a candidate is asked at the gate: prompts that nobody taught it, other ones each turn."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from thumbwheel_learner.dataset.examples import LoggedPrompt, Snapshot, as_sent
from thumbwheel_learner.gate.config import GateConfig
from thumbwheel_learner.gate.intents import intents_of
from thumbwheel_learner.gate.safety import PROMPTS
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.reward.labels import Row, prompt_key
from thumbwheel_learner.sft import demo_rows


@dataclass(frozen=True)
class Exam:
    """Everything two policies are compared on; prompts are token ids."""

    prompts: Sequence[Sequence[int]]
    intents: Sequence[str] = ()
    """Of each prompt; empty: nobody asks for them."""
    golden: Sequence[Row] = ()
    """Corrected answers after their prompts."""
    safety: Sequence[Sequence[int]] = ()


def make_exam(model: PolicyModel, held_out: Snapshot, config: GateConfig, turn: int = 0) -> Exam:
    """From the judge's half of a snapshot, which the candidate's training did not see."""
    asked = _drawn(model, held_out.prompts, config, turn)
    ids = [ids for ids, _ in asked]
    return Exam(
        prompts=ids,
        intents=intents_of(ids, [p.intent for _, p in asked], model.tokens.decode, least=config.min_intent_prompts),
        golden=demo_rows(held_out, model, config.max_prompt + config.max_tokens),
        safety=[
            model.tokens.prompt_ids([{"role": "user", "content": text}]) for text in (*PROMPTS, *config.safety_prompts)
        ],
    )


def gate_prompts(
    model: PolicyModel, prompts: Sequence[LoggedPrompt], config: GateConfig, turn: int = 0
) -> list[list[int]]:
    """Held-out prompts as token ids: each once, at most `config.prompts`, none redacted; other ones each turn.

    They stand in a ring by a hash, and a turn goes on where the last one ended: each is asked once before any is asked
    again. All are asked every time where there are no more than `config.prompts`.
    """
    return [ids for ids, _ in _drawn(model, prompts, config, turn)]


def _drawn(
    model: PolicyModel, prompts: Sequence[LoggedPrompt], config: GateConfig, turn: int
) -> list[tuple[list[int], LoggedPrompt]]:
    unique = {prompt_key(p.messages): p for p in as_sent(prompts)}
    ring = sorted(unique, key=lambda key: hashlib.sha256(f"{config.seed}:{key}".encode()).digest())
    tokenised = ((unique[k].prompt_token_ids or model.tokens.prompt_ids(unique[k].messages), unique[k]) for k in ring)
    usable = [(ids, p) for ids, p in tokenised if 0 < len(ids) <= config.max_prompt]
    if len(usable) <= config.prompts:
        return usable
    first = turn * config.prompts % len(usable)
    return [*usable[first:], *usable[:first]][: config.prompts]
