"""The arms: what each makes of one desk, how it answers the held-out prompts, and what is measured on its answers."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch are partial; what leaves this file is typed)

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any
from zlib import crc32

import msgspec
import torch
from msgspec import Struct
from torch import Tensor

from thumbwheel_demo.corpus import Scenario, prompts
from thumbwheel_demo.diversity import distinct_answers, distinct_bigrams
from thumbwheel_demo.experiments.cells import finished
from thumbwheel_demo.experiments.chats import prompt_ids
from thumbwheel_demo.experiments.distance import kl_between
from thumbwheel_demo.experiments.policy_training.desk import MEASURED, Desk, DeskOptions, Measured, sample
from thumbwheel_demo.experiments.policy_training.dpo import DpoConfig, train_dpo
from thumbwheel_demo.experiments.policy_training.pairs import corrected, ranked, told_apart
from thumbwheel_demo.report.record import write_json
from thumbwheel_demo.satisfaction import judge
from thumbwheel_demo.wording import words
from thumbwheel_learner.ppo.config import PpoConfig
from thumbwheel_learner.ppo.train import AnswerScorer, train_ppo
from thumbwheel_learner.rollouts.engine import Rollout
from thumbwheel_learner.rollouts.sampler import TransformersSampler
from thumbwheel_learner.runs.jobs import prompts_to_practise

BASE, SFT, BEST, PPO, DPO = "base", "sft", "best-of-n", "ppo", "dpo"


@dataclass(frozen=True)
class Arm:
    """How one arm gets its policy."""

    how: str
    ppo: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What differs from the product's PPO."""
    dpo: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What differs from `DpoConfig`."""
    ranked_pairs: bool = True
    """Whether DPO learns from sampled answers, ranked by the reward model, too."""


ARMS: Mapping[str, Arm] = {
    BASE: Arm("the policy that people chatted with"),
    SFT: Arm("corrections alone"),
    BEST: Arm("SFT; of n answers the one that the reward model likes best"),
    PPO: Arm("PPO from SFT, as the product runs it"),
    DPO: Arm("DPO from SFT on corrections and on sampled pairs that the reward model ranked"),
    "dpo-corrections": Arm("DPO from SFT on corrections alone", ranked_pairs=False),
    "dpo-fast": Arm("DPO at three times the learning rate", dpo={"learning_rate": 4.5e-4}),
    "dpo-near": Arm("DPO with a nat of distance three times as dear", dpo={"beta": 0.3}),
    "ppo-unclipped": Arm("PPO that leaves every prompt's gradient as long as it is", ppo={"prompt_clip": None}),
    "ppo-alike": Arm("PPO whose better answers may resemble each other", ppo={"diversity": 0.0}),
    "ppo-less-varied": Arm(
        "PPO that takes half as much from better answers that resemble each other", ppo={"diversity": 0.5}
    ),
    "ppo-last": Arm("PPO that keeps its last policy instead of an average", ppo={"averaged": 0.0}),
    "ppo-epochs": Arm("PPO with three passes over each iteration's answers", ppo={"epochs": 3}),
    "ppo-short": Arm("PPO with 16 iterations", ppo={"iterations": 16}),
    "ppo-wide": Arm(
        "PPO with twice the prompts, half the answers to each",
        ppo={"prompts_per_iteration": 64, "answers_per_prompt": 4},
    ),
    "ppo-cool": Arm("PPO that practises at a temperature of 0.7", ppo={"temperature": 0.7}),
    "ppo-dear-kl": Arm("PPO with four times the price of KL", ppo={"kl_coef": 0.4}),
}


class Sampled(Struct, frozen=True):
    """Answers to the held-out prompts that two arms share."""

    settings: dict[str, Any]
    answers: list[list[Rollout]]


class Cell(Struct, frozen=True, kw_only=True):
    """One arm with one seed."""

    arm: str
    seed: int
    settings: dict[str, Any]
    answers: dict[str, list[str]]
    """By prompt, as the measures that follow."""
    satisfied: dict[str, float]
    """Share of the answers."""
    distinct_answers: dict[str, float]
    distinct_bigrams: dict[str, float]
    distinct_good_bigrams: dict[str, float]
    """Of the answers that satisfy, for prompts with at least two of them."""
    reward: float
    """Mean pessimistic score of the answers, on the reward model's scale."""
    kl: float | None
    """To SFT, nats per answer, along the first answer of every prompt; None where answers are chosen among several."""
    words: float
    missing_end: float
    training: dict[str, Any]
    """What the algorithm says of its run."""
    train_s: float
    measure_s: float


def run_arm(
    desk: Desk, name: str, seed: int, options: DeskOptions, on: Measured, settings: dict[str, Any], folder: Path
) -> Cell:
    """Train, answer, measure; `folder` is the seed's."""
    started = time.monotonic()
    adapter, said = _policy(desk, name, folder)
    trained = time.monotonic()
    scenarios = prompts(on, options.heldout, MEASURED[on])
    asked = [prompt_ids(desk.model, s) for s in scenarios]
    if name in (SFT, BEST):
        answers = _answers_of_sft(desk, asked, seed, options, settings, folder / SFT / f"answers-{on}.json")
    else:
        limit, noise = settings["max_tokens"], _noise(seed, name)
        answers = sample(desk.model, adapter, asked, options.answers, limit, noise, options.temperature)
    if name == BEST:
        answers = best_of(desk.reward, asked, answers, options.best_of, desk.recipe.ppo)
    ids = [s.id for s in scenarios]
    flat = [rollout for row in answers for rollout in row]
    texts = [[rollout.text for rollout in row] for row in answers]
    few = [row[: options.answers] for row in texts]
    good = [[t for t in row if judge(s, t).satisfied] for s, row in zip(scenarios, few, strict=True)]
    first = [row[0].token_ids for row in answers]
    return Cell(
        arm=name,
        seed=seed,
        settings=settings,
        answers=dict(zip(ids, texts, strict=True)),
        satisfied=dict(zip(ids, map(satisfaction, scenarios, texts), strict=True)),
        distinct_answers=dict(zip(ids, map(distinct_answers, few), strict=True)),
        distinct_bigrams=dict(zip(ids, map(distinct_bigrams, few), strict=True)),
        distinct_good_bigrams={i: distinct_bigrams(row) for i, row in zip(ids, good, strict=True) if len(row) > 1},
        reward=float(pessimistic(desk.reward, asked, answers, desk.recipe.ppo.pessimism).mean()),
        kl=None if name == BEST else kl_between(desk.model, adapter, desk.sft, asked, first, options.temperature),
        words=fmean(len(words(rollout.text)) for rollout in flat),
        missing_end=fmean(not rollout.finished for rollout in flat),
        training=said,
        train_s=trained - started,
        measure_s=time.monotonic() - trained,
    )


def satisfaction(scenario: Scenario, texts: Sequence[str]) -> float:
    """Share of the answers that satisfy this customer."""
    return fmean(judge(scenario, text).satisfied for text in texts)


def _answers_of_sft(
    desk: Desk, asked: list[list[int]], seed: int, options: DeskOptions, settings: dict[str, Any], kept: Path
) -> list[list[Rollout]]:
    """Enough for the best of n; SFT itself is measured on all of them. Kept in a file, so that both see the same."""
    key = settings | {"of": desk.prepared.settings}
    found = finished(kept, Sampled)
    if found is None or found.settings != key:
        n = options.answers * options.best_of
        limit, noise = settings["max_tokens"], _noise(seed, SFT)
        answers = sample(desk.model, desk.sft, asked, n, limit, noise, options.temperature)
        write_json(kept, found := Sampled(settings=key, answers=answers))
    return found.answers


def _noise(seed: int, name: str) -> int:
    """Of the answers of one arm to the held-out prompts."""
    return seed * 1_000_003 + crc32(name.encode())


def _policy(desk: Desk, name: str, folder: Path) -> tuple[Path | None, dict[str, Any]]:
    """The arm's adapter, trained now if it has one of its own that is not there yet, and what the training says."""
    arm = ARMS[name]
    if name == BASE:
        return None, {}
    if name in (SFT, BEST):
        return desk.sft, desk.prepared.sft
    adapter, kept = folder / name / "adapter", folder / name / "training.json"
    key = msgspec.json.encode([desk.prepared.settings, asdict(_ppo(desk, arm)), asdict(_dpo(desk, arm))])
    if kept.is_file() and (found := msgspec.json.decode(kept.read_bytes()))["key"] == msgspec.json.decode(key):
        return adapter, found["said"]
    said = _train_dpo(desk, arm, adapter) if name.startswith(DPO) else _train_ppo(desk, arm, adapter)
    kept.write_bytes(msgspec.json.encode({"key": msgspec.Raw(key), "said": said}))
    return adapter, msgspec.json.decode(kept.read_bytes())["said"]


def _ppo(desk: Desk, arm: Arm) -> PpoConfig:
    """As a run sets it for so many labels, then what the arm changes."""
    labels = len(desk.snapshot.judged) + len(desk.snapshot.pairs)
    return replace(desk.recipe.ppo.within(labels), **arm.ppo)


def _train_ppo(desk: Desk, arm: Arm, adapter: Path) -> dict[str, Any]:
    practised = prompts_to_practise(desk.model.tokens, desk.snapshot.prompts)
    engine = TransformersSampler(desk.model)
    work = adapter.parent / "work"
    _, report = train_ppo(desk.model, desk.sft, desk.reward, practised, engine, _ppo(desk, arm), adapter, work=work)
    return report.as_dict()


def _dpo(desk: Desk, arm: Arm) -> DpoConfig:
    return DpoConfig(seed=desk.recipe.sft.seed, **arm.dpo)


def _train_dpo(desk: Desk, arm: Arm, adapter: Path) -> dict[str, Any]:
    """On people's pairs, and on the best and the worst of as many sampled answers as PPO takes."""
    tokens, ppo = desk.model.tokens, _ppo(desk, ARMS[PPO])
    of_people = [*corrected(desk.snapshot, tokens), *told_apart(desk.snapshot, tokens)]
    of_reward = []
    if arm.ranked_pairs:
        practised = prompts_to_practise(tokens, desk.snapshot.prompts)[: ppo.iterations * ppo.prompts_per_iteration]
        n, limit = ppo.answers_per_prompt, ppo.max_tokens
        answers = sample(desk.model, desk.sft, practised, n, limit, ppo.seed, ppo.temperature)
        of_reward = ranked(practised, answers, scores_of(desk.reward, practised, answers, ppo))
    report = train_dpo(desk.model, desk.sft, [*of_people, *of_reward], _dpo(desk, arm), adapter)
    facts = {"of_corrections": len(desk.snapshot.pairs), "of_people": len(of_people), "of_reward": len(of_reward)}
    return asdict(report) | facts


def pessimistic(
    reward: AnswerScorer, asked: Sequence[list[int]], answers: Sequence[Sequence[Rollout]], pessimism: float
) -> Tensor:
    """[P, K] mean over the members minus `pessimism` of their standard deviations."""
    repeated = [ids for ids, row in zip(asked, answers, strict=True) for _ in row]
    scores = reward.score(repeated, [rollout.text for row in answers for rollout in row])
    return (scores.mean - pessimism * scores.std).view(len(answers), -1)


def scores_of(
    reward: AnswerScorer, asked: Sequence[list[int]], answers: Sequence[Sequence[Rollout]], config: PpoConfig
) -> Tensor:
    """[P, K] what PPO would maximise: the pessimistic score in deviations of these answers', less for a missing end."""
    scores = pessimistic(reward, asked, answers, config.pessimism)
    unfinished = torch.tensor([[not rollout.finished for rollout in row] for row in answers]).float()
    spread = max(float(scores.std(correction=0)), 1e-4)
    normalised = ((scores - scores.mean()) / spread).clamp(-config.reward_clip, config.reward_clip)
    return normalised - config.missing_end_penalty * unfinished


def best_of(
    reward: AnswerScorer, asked: Sequence[list[int]], answers: Sequence[Sequence[Rollout]], n: int, config: PpoConfig
) -> list[list[Rollout]]:
    """Of every `n` answers in a row the one with the highest score; the first of equal ones."""
    scores = scores_of(reward, asked, answers, config)
    picked: list[list[int]] = scores.view(len(answers), -1, n).argmax(dim=-1).tolist()
    return [[row[group * n + k] for group, k in enumerate(picks)] for row, picks in zip(answers, picked, strict=True)]
