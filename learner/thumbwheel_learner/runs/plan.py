"""From settings to the algorithms' configurations: whatever is left at 0 keeps the algorithm's own default."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from thumbwheel_learner.dataset.keys import KeySource
from thumbwheel_learner.gate.config import GateConfig
from thumbwheel_learner.model.base import resolve_base
from thumbwheel_learner.model.lora import LoraConfig
from thumbwheel_learner.ppo.config import PpoConfig
from thumbwheel_learner.propensity.weigh import PropensityConfig
from thumbwheel_learner.questions.ask import Asking
from thumbwheel_learner.questions.known import read_known
from thumbwheel_learner.questions.settings import QuestionSettings
from thumbwheel_learner.refinement.refine import RefinementConfig
from thumbwheel_learner.reward.config import ADAPTERS, FROZEN, HEADS_ALONE, RewardConfig
from thumbwheel_learner.rlaif.chat_labeler import ChatLabeler, labeler_http
from thumbwheel_learner.rlaif.labelling import Labelling, LabellingConfig
from thumbwheel_learner.rlaif.settings import PRINCIPLE, LabelerSettings
from thumbwheel_learner.runs.settings import Training
from thumbwheel_learner.sft import SftConfig
from thumbwheel_learner.voters.weigh import VotersConfig


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How each stage trains."""

    reward: RewardConfig
    sft: SftConfig
    ppo: PpoConfig
    gate: GateConfig
    voters: VotersConfig = field(default_factory=VotersConfig)
    refinement: RefinementConfig = field(default_factory=RefinementConfig)
    propensity: PropensityConfig | None = None
    """How thumbs are weighed for those who gave none; None: they all weigh 1."""


def recipe_of(training: Training) -> Recipe:
    """Defaults with the settings on top; raises `BaseNotFound` for an encoder that is not there."""
    lora = LoraConfig(rank=training.lora_rank, alpha=2 * training.lora_rank)
    reward = replace(
        _reward(RewardConfig(seed=training.seed, outcomes=training.reward_outcomes), training.reward_trunk),
        **_given(
            members=training.reward_members,
            epochs=training.reward_epochs,
            learning_rate=training.reward_learning_rate,
            length_head=training.reward_length_head,
            meta_rate=training.reward_meta_rate,
        ),
    )
    gate = GateConfig(seed=training.seed)
    judge = replace(
        gate.judge,
        seed=gate.judge.seed + training.seed,
        **_given(
            members=training.reward_members, epochs=training.reward_epochs, length_head=training.reward_length_head
        ),
    )
    sft = replace(
        SftConfig(lora=lora, seed=training.seed),
        **_given(epochs=training.sft_epochs, learning_rate=training.sft_learning_rate),
    )
    return Recipe(
        reward=reward,
        sft=sft,
        ppo=_ppo(PpoConfig(lora=lora, seed=training.seed), training),
        gate=replace(
            gate,
            judge=judge,
            safety_prompts=_lines_of(training.gate_safety_prompts),
            **_given(
                judge_share=training.judge_share,
                prompts=training.gate_prompts,
                max_tokens=training.max_new_tokens,
                min_judge_labels=training.gate_judge_labels,
                min_win_rate=training.gate_win_rate,
                max_kl=training.gate_max_kl,
                max_kl_base=training.gate_max_kl_base,
            ),
        ),
        voters=VotersConfig(
            weigh=training.voters == "weigh", released=training.voters_released, held=training.voters_held
        ),
        refinement=RefinementConfig(
            on=training.refine == "on", sft=sft, seed=training.seed, **_given(max_tokens=training.max_new_tokens)
        ),
        propensity=PropensityConfig() if training.propensity == "weigh" else None,
    )


def labelling_of(settings: LabelerSettings, engine: Engine, data: Path, keys: KeySource) -> Labelling | None:
    """The labeler behind the endpoint that is set; None without one."""
    if not settings.url:
        return None
    labeler = ChatLabeler(labeler_http(settings.url, settings.api_key), settings.model)
    config = LabellingConfig(principle=settings.principle or PRINCIPLE, pairs=settings.pairs)
    return Labelling(engine, data, keys, labeler, config)


def asking_of(
    settings: QuestionSettings, engine: Engine, keys: KeySource, *, wake: Callable[[], None]
) -> Asking | None:
    """What asks people; None without a budget. Raises `BadKnownAnswers`."""
    known = read_known(settings.known)
    return Asking(engine=engine, keys=keys, settings=settings, known=known, wake=wake) if settings.per_day else None


def _reward(config: RewardConfig, trunk: str) -> RewardConfig:
    """On that trunk; an encoder is looked for now, not in the middle of the first run. Raises `BaseNotFound`."""
    if trunk == ADAPTERS:
        return config
    found = trunk if trunk == FROZEN else str(resolve_base(trunk, setting="THUMBWHEEL_REWARD_TRUNK"))
    return replace(config, trunk=found, **HEADS_ALONE)


def _ppo(config: PpoConfig, training: Training) -> PpoConfig:
    """Iterations that somebody asks for are made, however few the labels."""
    config = replace(config, **_given(answers_per_label=training.ppo_answers_per_label))
    if training.ppo_iterations:
        config = replace(config, iterations=training.ppo_iterations, answers_per_label=0.0)
    return replace(
        config,
        **_given(
            learning_rate=training.ppo_learning_rate,
            epochs=training.ppo_epochs,
            prompts_per_iteration=training.ppo_prompts,
            answers_per_prompt=training.ppo_samples,
            max_tokens=training.max_new_tokens,
            kl_coef=training.ppo_kl_coef,
            kl_target=training.ppo_kl_target,
            sft_coef=training.ppo_sft_coef,
            token_credit=training.ppo_token_credit,
        ),
    )


def _lines_of(file: Path | None) -> tuple[str, ...]:
    lines = file.read_text(encoding="utf-8").splitlines() if file else []
    return tuple(line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#"))


def _given(**values: float) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}
