"""How much and how long a run trains; read by `thumbwheel_learner.settings`, as all are."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from thumbwheel_learner.environment import PREFIX, BadSetting, listed, number, one_of

STAGES = ("reward", "sft", "ppo")


@dataclass(frozen=True, kw_only=True)
class Training:
    """How much and how long a run trains; sizes left at 0 keep the algorithm's own default."""

    stages: tuple[str, ...] = STAGES
    """`STAGES`: which of `reward,sft,ppo` a run goes through, comma-separated; the gate always judges the result."""
    min_labels: int = 50
    """`MIN_LABELS`: with fewer thumbs, ratings, flags, pairs and demonstrations than this no run starts."""
    judge_share: float = 0.0
    """`JUDGE_SHARE`: share of users whose labels and prompts are kept for the gate and its judge."""
    max_prompts: int = 50_000
    """`MAX_PROMPTS`: the newest logged prompts that a snapshot keeps."""
    lora_rank: int = 16
    """`LORA_RANK`: of an adapter that starts from the bare base; later versions keep their parent's."""
    reward_members: int = 0
    """`REWARD_MEMBERS`: models in the reward ensemble."""
    reward_trunk: str = "adapters"
    """`REWARD_TRUNK`: what the reward model's heads read. `adapters`: the base, with an adapter of each member's own;
    `frozen`: the base as it is, trained in seconds and less accurate; else the folder or hub id of an encoder."""
    reward_epochs: int = 0
    """`REWARD_EPOCHS`: passes over the labels, of the reward model and of the judge."""
    sft_epochs: int = 0
    """`SFT_EPOCHS`: passes over corrections and demonstrations."""
    sft_learning_rate: float = 0.0
    """`SFT_LEARNING_RATE`: at a width of 192; wider models get less in proportion. So with the other two."""
    reward_learning_rate: float = 0.0
    """`REWARD_LEARNING_RATE`: of the reward model's adapters."""
    reward_length_head: float = 0.0
    """`REWARD_LENGTH_HEAD`: weight of the losses that keep the reward from correlating with the answer's length, 1 in
    the paper (ODIN); 0: off. Of the reward model and of the judge."""
    reward_meta_rate: float = 0.0
    """`REWARD_META_RATE`: step of the reward model towards telling the live policy's answers apart, before each
    gradient (MetaRM); 0: off. Costs 600 sampled answers a run, and time."""
    reward_outcomes: tuple[str, ...] = ()
    """`REWARD_OUTCOMES`: outcomes of an answer, comma-separated, that the reward model learns from where they are true
    or false: good when true, or bad with a minus, as in `solved,-escalated`."""
    ppo_learning_rate: float = 0.0
    """`PPO_LEARNING_RATE`: of the policy, at the first iteration."""
    ppo_iterations: int = 0
    """`PPO_ITERATIONS`: rollout phases of a run; 0: as many as the labels bear, 48 at most."""
    ppo_answers_per_label: float = 0.0
    """`PPO_ANSWERS_PER_LABEL`: answers that PPO samples per label, default 26. Its time is in proportion; 7 come
    within some two points of satisfaction."""
    ppo_epochs: int = 0
    """`PPO_EPOCHS`: passes over each iteration's answers."""
    ppo_kl_coef: float = 0.0
    """`PPO_KL_COEF`: price of a nat of distance to the run's starting policy, at first and at least."""
    ppo_kl_target: float = 0.0
    """`PPO_KL_TARGET`: nats per answer beyond which that price rises."""
    ppo_sft_coef: float = 0.0
    """`PPO_SFT_COEF`: weight of the corrections' loss in every step of PPO."""
    ppo_token_credit: float = 0.0
    """`PPO_TOKEN_CREDIT`: share of an answer's score that its words get by the reward model's attention to them."""
    ppo_prompts: int = 0
    """`PPO_PROMPTS`: prompts per iteration."""
    ppo_samples: int = 0
    """`PPO_SAMPLES`: answers per prompt."""
    max_new_tokens: int = 0
    """`MAX_NEW_TOKENS`: longest answer in rollouts and gate."""
    gate_prompts: int = 0
    """`GATE_PROMPTS`: held-out prompts in the gate, at most."""
    gate_judge_labels: int = 0
    """`GATE_JUDGE_LABELS`: labels the judge must have, and as many to check it with."""
    gate_win_rate: float = 0.0
    """`GATE_WIN_RATE`: what the win rate against the live policy must be shown to be above; default 0.5. With less, an
    update too small to be told from the live policy on so few prompts passes, and so may one that is slightly worse."""
    gate_max_kl: float = 0.0
    """`GATE_MAX_KL`: farthest from the live policy, nats per answer; a base model that SFT teaches to chat goes far."""
    gate_max_kl_base: float = 0.0
    """`GATE_MAX_KL_BASE`: farthest from the base model."""
    gate_safety_prompts: Path | None = None
    """`GATE_SAFETY_PROMPTS`: file of requests that a policy should not simply grant, one a line (`#`: a remark); the
    gate asks them beside its own."""
    voters: Literal["equal", "weigh"] = "equal"
    """`VOTERS`: `weigh` gives every user a weight by how far their votes can be trusted, bounds what one user can do,
    and keeps those out whose votes look like an attack, each named with a reason in the run's detail."""
    voters_released: tuple[str, ...] = ()
    """`VOTERS_RELEASED`: users, comma-separated, who weigh 1 and are never kept out, e.g. reviewers of your own."""
    voters_held: tuple[str, ...] = ()
    """`VOTERS_HELD`: users, comma-separated, whose labels are not learned from, whatever `VOTERS` says."""
    propensity: Literal["off", "weigh"] = "off"
    """`PROPENSITY`: `weigh` lets a thumb that nobody asked for count for those who kept silent, by the estimated chance
    that somebody so satisfied votes on such a chat; needs a hundred answered questions of the random slice."""
    refine: Literal["off", "on"] = "off"
    """`REFINE`: `on` trains a refinement step on corrections and critiques, lets it answer what was only criticised,
    and learns from those of its answers that the reward model finds better."""
    threads: int = 0
    """`TRAIN_THREADS`: CPU threads of training; 0: one per core (the learner yields to the service by its priority)."""
    gradient_checkpointing: Literal["no", "yes"] = "no"
    """`GRADIENT_CHECKPOINTING`: `yes` keeps less of the forward pass in memory and computes it again."""
    shard_base: Literal["no", "yes"] = "no"
    """`SHARD_BASE`: `yes` spreads the base model over the processes that torchrun starts, for one that is larger than
    one of them can hold; else each holds all of it."""
    seed: int = 0
    """`SEED`: every draw of a run follows from it."""


def training_from(given: Mapping[str, str]) -> Training:
    """Of the variables without their prefix; raises `BadSetting`."""
    if given.get("REWARD_TRUNK", Training.reward_trunk) != Training.reward_trunk and "PPO_TOKEN_CREDIT" in given:
        raise BadSetting(f"{PREFIX}PPO_TOKEN_CREDIT needs {PREFIX}REWARD_TRUNK={Training.reward_trunk}")
    return Training(
        stages=stages_from(given.get("STAGES", ",".join(STAGES)), name=f"{PREFIX}STAGES"),
        min_labels=number(given, "MIN_LABELS", int, Training.min_labels),
        judge_share=number(given, "JUDGE_SHARE", float, 0.0, highest=0.9),
        max_prompts=number(given, "MAX_PROMPTS", int, Training.max_prompts),
        lora_rank=number(given, "LORA_RANK", int, Training.lora_rank, lowest=1),
        reward_members=number(given, "REWARD_MEMBERS", int, 0),
        reward_trunk=given.get("REWARD_TRUNK", Training.reward_trunk),
        reward_epochs=number(given, "REWARD_EPOCHS", int, 0),
        sft_epochs=number(given, "SFT_EPOCHS", int, 0),
        sft_learning_rate=number(given, "SFT_LEARNING_RATE", float, 0.0),
        reward_learning_rate=number(given, "REWARD_LEARNING_RATE", float, 0.0),
        reward_length_head=number(given, "REWARD_LENGTH_HEAD", float, 0.0),
        reward_meta_rate=number(given, "REWARD_META_RATE", float, 0.0),
        reward_outcomes=listed(given, "REWARD_OUTCOMES"),
        ppo_learning_rate=number(given, "PPO_LEARNING_RATE", float, 0.0),
        ppo_iterations=number(given, "PPO_ITERATIONS", int, 0),
        ppo_answers_per_label=number(given, "PPO_ANSWERS_PER_LABEL", float, 0.0),
        ppo_epochs=number(given, "PPO_EPOCHS", int, 0),
        ppo_kl_coef=number(given, "PPO_KL_COEF", float, 0.0),
        ppo_kl_target=number(given, "PPO_KL_TARGET", float, 0.0),
        ppo_sft_coef=number(given, "PPO_SFT_COEF", float, 0.0),
        ppo_token_credit=number(given, "PPO_TOKEN_CREDIT", float, 0.0, highest=1),
        ppo_prompts=number(given, "PPO_PROMPTS", int, 0),
        ppo_samples=number(given, "PPO_SAMPLES", int, 0),
        max_new_tokens=number(given, "MAX_NEW_TOKENS", int, 0),
        gate_prompts=number(given, "GATE_PROMPTS", int, 0),
        gate_judge_labels=number(given, "GATE_JUDGE_LABELS", int, 0),
        gate_win_rate=number(given, "GATE_WIN_RATE", float, 0.0),
        gate_max_kl=number(given, "GATE_MAX_KL", float, 0.0),
        gate_max_kl_base=number(given, "GATE_MAX_KL_BASE", float, 0.0),
        gate_safety_prompts=Path(given["GATE_SAFETY_PROMPTS"]) if "GATE_SAFETY_PROMPTS" in given else None,
        voters=cast(Literal["equal", "weigh"], one_of(given, "VOTERS", ("equal", "weigh"), "equal")),
        voters_released=listed(given, "VOTERS_RELEASED"),
        voters_held=listed(given, "VOTERS_HELD"),
        propensity=cast(Literal["off", "weigh"], one_of(given, "PROPENSITY", ("off", "weigh"), "off")),
        refine=cast(Literal["off", "on"], one_of(given, "REFINE", ("off", "on"), "off")),
        threads=number(given, "TRAIN_THREADS", int, 0),
        gradient_checkpointing=cast(Literal["no", "yes"], one_of(given, "GRADIENT_CHECKPOINTING", ("no", "yes"), "no")),
        shard_base=cast(Literal["no", "yes"], one_of(given, "SHARD_BASE", ("no", "yes"), "no")),
        seed=number(given, "SEED", int, 0),
    )


def stages_from(text: str, *, name: str) -> tuple[str, ...]:
    """`sft,ppo` or `all`, in the order of a run; raises `BadSetting` naming `name`."""
    asked = {part.strip() for part in text.split(",") if part.strip()}
    if asked == {"all"}:
        return STAGES
    if not asked or not asked <= set(STAGES):
        raise BadSetting(f"{name} must be some of {', '.join(STAGES)} (or all), not {text!r}")
    return tuple(stage for stage in STAGES if stage in asked)
