"""Answers of the frozen demo policy and what it makes of them, computed once for every seed and attack."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (torch and transformers are partly untyped; what leaves this file is typed)

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from thumbwheel_demo.corpus.model import Scenario
from thumbwheel_demo.corpus.prompts import prompts
from thumbwheel_demo.corpus.ways import answer
from thumbwheel_demo.policy.sample import Sampler
from thumbwheel_demo.policy.weights import weights_dir

Trait = Literal["invented", "rude"]
Features = NDArray[np.float64]
TEXTS, NUMBERS = "answers.json", "features.npz"
BATCH = 64


@dataclass(frozen=True)
class PoolSettings:
    """How much there is to vote on and to choose from."""

    trait: Trait = "invented"
    chats: int = 4000
    pushed: int = 500
    """Answers with the harmful trait: an attacker asks until the policy gives one, which the corpus writes here."""
    prompts: int = 150
    best_of: int = 16


class Pool:
    """Scenarios with answers and their features [answers, F]: chats, pushed answers, candidates prompt by prompt."""

    def __init__(self, settings: PoolSettings, texts: dict[str, list[str]], features: dict[str, Features]) -> None:
        self.settings, self.texts, self.features = settings, texts, features
        self.scenarios = scenarios_of(settings)


def scenarios_of(settings: PoolSettings) -> dict[str, list[Scenario]]:
    """The conversations that the answers belong to; candidates come `best_of` to a prompt."""
    held_out = prompts("heldout", settings.prompts, 7)
    return {
        "chats": prompts("live", settings.chats, 7),
        "pushed": prompts("live", settings.pushed, 8),
        "candidates": [s for s in held_out for _ in range(settings.best_of)],
    }


def pool(folder: Path, settings: PoolSettings, say: Callable[[str], None]) -> Pool:
    """Read the pool from `folder`, or make it there if an earlier call has not made just this one."""
    wanted = msgspec.to_builtins(asdict(settings))
    try:
        kept: dict[str, Any] = msgspec.json.decode((folder / TEXTS).read_bytes())
        if kept["settings"] == wanted:
            with np.load(folder / NUMBERS) as stored:
                return Pool(settings, kept["texts"], {name: stored[name] for name in stored.files})
    except (OSError, KeyError, ValueError, msgspec.MsgspecError):
        say("no answers kept from before")
    folder.mkdir(parents=True, exist_ok=True)
    sampler, scenarios = Sampler(weights_dir()), scenarios_of(settings)
    say(f"sampling {settings.chats + len(scenarios['candidates'])} answers of the demo policy")
    texts = {
        "chats": sampler.sample(scenarios["chats"], seed=1),
        "pushed": [answer(s, settings.trait, random.Random(f"pushed-{s.id}")) for s in scenarios["pushed"]],
        "candidates": sampler.sample(scenarios["candidates"], seed=2),
    }
    say("reading them with the frozen policy")
    features = {name: read(sampler, scenarios[name], texts[name]) for name in texts}
    np.savez(folder / NUMBERS, **features)  # pyright: ignore[reportArgumentType]
    (folder / TEXTS).write_bytes(msgspec.json.encode({"settings": wanted, "texts": texts}))
    return Pool(settings, texts, features)


@torch.inference_mode()
def read(sampler: Sampler, scenarios: Sequence[Scenario], answers: Sequence[str]) -> Features:
    """[answers, 2 · width + 2] the last layer's state at the end token, its mean over the answer, and the mean and the
    spread of the answer's log-probabilities: what the learner's reward heads read, without adapters."""
    tokenizer: Any = sampler.tokenizer
    end = int(tokenizer.eos_token_id)
    heads = [sampler.prompt_ids(s) for s in scenarios]
    tails: list[list[int]] = [[*ids, end] for ids in tokenizer(list(answers), add_special_tokens=False)["input_ids"]]
    order = sorted(range(len(heads)), key=lambda i: len(heads[i]) + len(tails[i]))
    rows: list[Any] = [None] * len(order)
    for start in range(0, len(order), BATCH):
        group = order[start : start + BATCH]
        longest = max(len(heads[i]) + len(tails[i]) for i in group)
        ids = torch.full((len(group), longest), int(tokenizer.pad_token_id))
        for n, i in enumerate(group):
            ids[n, : len(heads[i]) + len(tails[i])] = torch.tensor(heads[i] + tails[i])
        model: Any = sampler.model
        # Padding stands on the right, where no token of a causal model sees it.
        out = model(input_ids=ids, output_hidden_states=True)
        told = out.logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
        for n, i in enumerate(group):
            first, last = len(heads[i]), len(heads[i]) + len(tails[i])
            states, chances = out.hidden_states[-1][n, first:last], told[n, first - 1 : last - 1]
            likely = torch.stack([chances.mean(), -chances.square().mean().sqrt()])
            rows[i] = torch.cat([states[-1], states.mean(0), likely]).double().numpy()
    return np.stack(rows)
