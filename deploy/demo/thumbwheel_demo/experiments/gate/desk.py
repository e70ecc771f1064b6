"""A desk with people, prompts, votes and a judge of its own: what one seed of the experiment stands on."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from thumbwheel_demo.corpus import Scenario, prompts
from thumbwheel_demo.experiments.chats import prompt_ids, snapshot_of
from thumbwheel_demo.people import PeopleSettings
from thumbwheel_demo.satisfaction import judge
from thumbwheel_learner.gate.config import GateConfig
from thumbwheel_learner.gate.exam import gate_prompts, make_exam
from thumbwheel_learner.gate.judge import Judge, train_judge
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.reward.labels import Evidence, split_evidence
from thumbwheel_learner.rollouts.engine import Rollout
from thumbwheel_learner.rollouts.sampler import TransformersSampler

BATCH = 256
"""Answers sampled side by side."""


@dataclass(frozen=True)
class DeskOptions:
    """What decides a desk, beside its seed."""

    chats: int = 1500
    """Before the gate is called; seven in ten of the customers teach the reward model, the others the judge."""
    answers: int = 4
    """Sampled for each of the gate's prompts: the live policy says any of them, with equal chances."""


@dataclass(frozen=True)
class Pool:
    """What the live policy says to the gate's prompts, and the hidden satisfaction with it."""

    row: dict[tuple[int, ...], int]
    """Prompt ids -> row below."""
    answers: list[list[Rollout]]
    """Of P prompts, then those of the safety prompts, which have no customer to satisfy."""
    satisfied: NDArray[np.bool_]
    """[P, K]"""


@dataclass(frozen=True)
class Desk:
    """One seed's people, what they taught the judge, and what can be said to them."""

    evidence: Evidence
    judge: Judge | None
    pool: Pool
    scenarios: dict[tuple[int, ...], Scenario]
    """By prompt ids."""


def open_desk(model: PolicyModel, seed: int, options: DeskOptions, config: GateConfig, folder: Path) -> Desk:
    """Let people chat with the demo policy and vote, train the judge on its share of them, sample the pool."""
    scenarios = prompts("live", options.chats, seed)
    people = PeopleSettings(seed=seed)
    asked = [prompt_ids(model, s) for s in scenarios]
    sampler = TransformersSampler(model, batch_size=BATCH)
    how = {"max_tokens": config.max_tokens, "seed": seed}
    said = [row[0] for row in sampler.sample(None, asked, n=1, temperature=config.temperature, **how)]
    evidence = split_evidence(snapshot_of(scenarios, said, asked, people), config.judge_share)
    own = replace(config.judge, seed=config.judge.seed + seed)
    trained = train_judge(model, evidence, own, folder, resamples=config.resamples, seed=seed)
    everything = GateConfig(prompts=options.chats, max_prompt=config.max_prompt, seed=seed)
    to_answer = gate_prompts(model, evidence.judge.prompts, everything)
    safety = [list(ids) for ids in make_exam(model, evidence.judge, everything).safety]
    answers = sampler.sample(None, [*to_answer, *safety], n=options.answers, temperature=config.temperature, **how)
    scenario = {tuple(ids): s for ids, s in zip(asked, scenarios, strict=True)}
    satisfied = [
        [judge(scenario[tuple(ids)], a.text).satisfied for a in row]
        for ids, row in zip(to_answer, answers, strict=False)
    ]
    row = {tuple(ids): i for i, ids in enumerate([*to_answer, *safety])}
    return Desk(evidence, trained, Pool(row, answers, np.array(satisfied, dtype=bool)), scenario)
