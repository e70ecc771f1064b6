"""One seed: people criticise and agents correct, a refinement step learns from them, and is measured."""

import random
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace as changed

from thumbwheel_demo.corpus.model import Scenario
from thumbwheel_demo.corpus.prompts import prompts
from thumbwheel_demo.experiments.chats import messages_of, prompt_ids, snapshot_of
from thumbwheel_demo.people import PeopleSettings
from thumbwheel_demo.satisfaction import Satisfaction, judge
from thumbwheel_learner.dataset.examples import Critique, Snapshot
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.refinement.refine import (
    Refined,
    RefinementConfig,
    demonstrations_of,
    distinct,
    pairs_of,
    refine,
    request_ids,
)
from thumbwheel_learner.refinement.requests import Request
from thumbwheel_learner.reward.config import RewardConfig
from thumbwheel_learner.reward.training import train_reward
from thumbwheel_learner.rollouts.engine import Rollout
from thumbwheel_learner.rollouts.sampler import TransformersSampler
from thumbwheel_learner.sft import SftConfig, train_sft

WORDS: dict[str, tuple[str, ...]] = {
    "solved": ("This does not solve my problem.", "You did not answer my question.", "That is about something else."),
    "kind": ("You could be friendlier.", "No kind word at all.", "That sounds cold."),
    "polite": ("That is rude.", "Do not talk to me like that."),
    "brief": ("That is far too long.", "Please be brief."),
    "honest": ("You made that up.", "That is not true.", "I never said that."),
    "complete": ("This is not a whole answer.", "I cannot make sense of this."),
}
"""What a customer says of an answer that fails in a point, in no fixed words."""


class Plan(Struct, frozen=True, kw_only=True):
    """Sizes that every seed shares."""

    chats: int = 1500
    corrections: float = 0.15
    """Share of the bad answers that an agent rewrites."""
    critiques: float = 0.6
    """Share of the bad answers whose customer says what is wrong."""
    heldout: int = 250
    answers: int = 2
    """To each held-out prompt."""


class Cell(Struct, frozen=True, kw_only=True):
    """One seed, as its file holds it."""

    seed: int
    plan: Plan
    taught: int
    asked: int
    kept: int
    """Answers that SFT learned from."""
    kept_satisfied: int
    rewritten: dict[str, list[bool]]
    """By arm: whether an answer to each criticised one's conversation satisfies."""
    heldout: dict[str, list[float]]
    """By arm: share of the answers to each held-out prompt that satisfy."""


def criticised(
    snapshot: Snapshot, scenarios: Sequence[Scenario], said: Sequence[str], share: float, seed: int
) -> Snapshot:
    """The snapshot with critiques of bad answers by some of those who got them."""
    found: list[Critique] = []
    for n, (scenario, text) in enumerate(zip(scenarios, said, strict=True)):
        verdict, rng = judge(scenario, text), random.Random(f"critique-{seed}-{scenario.id}")
        if not verdict.satisfied and rng.random() < share:
            words = complaint(verdict, rng)
            found.append(
                Critique(
                    messages=messages_of(scenario),
                    answer=text,
                    text=words,
                    user=scenario.customer,
                    conversation_id=scenario.id,
                    created_ms=n,
                    event_id=f"critique-{n}",
                )
            )
    return changed(snapshot, critiques=found)


def complaint(verdict: Satisfaction, rng: random.Random) -> str:
    """One sentence for every point that the answer fails in."""
    return " ".join(rng.choice(words) for point, words in WORDS.items() if not getattr(verdict, point))


def run_seed(model: PolicyModel, seed: int, plan: Plan, folder: Path) -> Cell:
    """Everything of one seed; what is trained lies in `folder`."""
    sampler = TransformersSampler(model, batch_size=256)
    people = PeopleSettings(seed=seed, corrections=plan.corrections)
    scenarios = prompts("live", plan.chats, seed)
    by_id = {scenario.id: scenario for scenario in scenarios}
    asked = [prompt_ids(model, s) for s in scenarios]
    said = [row[0] for row in sampler.sample(None, asked, n=1, max_tokens=64, temperature=1.0, seed=seed)]
    snapshot = snapshot_of(scenarios, said, asked, people)
    snapshot = criticised(snapshot, scenarios, [a.text for a in said], plan.critiques, seed)
    config = RefinementConfig(on=True, sft=SftConfig(seed=seed), max_tokens=64, seed=seed)
    refined, figures = refine(model, None, snapshot, sampler, config, folder / "refine")
    reward_config = RewardConfig(seed=seed)
    extra = pairs_of(refined, model.tokens, config, reward_config.max_length)
    reward, _ = train_reward(model, snapshot, reward_config, folder / "reward", extra=extra)
    kept = demonstrations_of(refined, reward, model.tokens, config, SftConfig().max_length)
    texts = {tuple(row.prompt): model.tokens.decode(row.answer) for row in kept}
    prompt_of = {r.request.conversation_id: model.tokens.prompt_ids(r.request.messages) for r in refined}
    good = [judge(by_id[c], texts[tuple(ids)]).satisfied for c, ids in prompt_of.items() if tuple(ids) in texts]
    corrected, _ = train_sft(model, None, snapshot, SftConfig(seed=seed), folder / "corrections")
    both, _ = train_sft(model, None, snapshot, SftConfig(seed=seed), folder / "both", extra=kept)
    policies: dict[str, Path | None] = {"live policy": None, "SFT on corrections": corrected, "and refined": both}
    return Cell(
        seed=seed,
        plan=plan,
        taught=figures["taught"],
        asked=figures["asked"],
        kept=len(kept),
        kept_satisfied=sum(good),
        rewritten=_rewritten(model, sampler, refined, by_id, config, folder, corrected),
        heldout={name: _heldout(model, sampler, adapter, plan) for name, adapter in policies.items()},
    )


def _rewritten(
    model: PolicyModel,
    sampler: TransformersSampler,
    refined: Sequence[Refined],
    by_id: dict[str, Scenario],
    config: RefinementConfig,
    folder: Path,
    corrected: Path,
) -> dict[str, list[bool]]:
    """By arm one answer for each criticised one: the step's, the same with strangers' critiques, and without any."""
    requests = [one.request for one in refined]
    plain = [model.tokens.prompt_ids(request.messages) for request in requests]
    strange = [request_ids(request, model.tokens, config.max_prompt) for request in exchanged(requests, config.seed)]

    def sample(adapter: Path | None, rows: Sequence[Sequence[int]]) -> list[list[Rollout]]:
        how = {"max_tokens": config.max_tokens, "seed": config.seed + 1}
        return sampler.sample(adapter, rows, n=1, temperature=config.temperature, **how)

    live, after_sft = sample(None, plain), sample(corrected, plain)
    others = sample(folder / "refine" / "adapter", strange)
    said = {
        "live policy again": [row[0].text for row in live],
        "SFT on corrections": [row[0].text for row in after_sft],
        "refined": [one.answers[0] for one in refined],
        "refined, critiques exchanged": [
            (distinct(request, row) or [""])[0] for request, row in zip(requests, others, strict=True)
        ],
    }
    return {
        arm: [judge(by_id[r.conversation_id], text).satisfied for r, text in zip(requests, texts, strict=True)]
        for arm, texts in said.items()
    }


def exchanged(requests: Sequence[Request], seed: int) -> list[Request]:
    """The requests with each other's critiques."""
    words = [request.critique for request in requests]
    random.Random(seed).shuffle(words)
    return [changed(request, critique=critique) for request, critique in zip(requests, words, strict=True)]


def _heldout(model: PolicyModel, sampler: TransformersSampler, adapter: Path | None, plan: Plan) -> list[float]:
    scenarios = prompts("heldout", plan.heldout, 7)
    ids = [prompt_ids(model, s) for s in scenarios]
    rows = sampler.sample(adapter, ids, n=plan.answers, max_tokens=64, temperature=1.0, seed=7)
    return [
        sum(judge(scenario, answer.text).satisfied for answer in row) / plan.answers
        for scenario, row in zip(scenarios, rows, strict=True)
    ]
