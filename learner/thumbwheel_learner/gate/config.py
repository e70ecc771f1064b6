"""What the gate asks of a candidate; every rule and where it comes from: docs/algorithms/gate.md."""

from dataclasses import dataclass, field

from thumbwheel_learner.reward.config import RewardConfig


@dataclass(frozen=True)
class GateConfig:
    """What a candidate must show, and with how much evidence."""

    judge: RewardConfig = field(default_factory=lambda: RewardConfig(held_out=0.0, seed=7919))
    judge_share: float = 0.3
    """Share of users whose labels go to the judge instead of the reward model."""
    prompts: int = 400
    min_prompts: int = 24
    answers_per_prompt: int = 2
    max_prompt: int = 384
    max_tokens: int = 64
    temperature: float = 1.0
    batch_tokens: int = 6144
    min_judge_labels: int = 30
    """Labels the judge must have been trained on, and as many to check it with."""
    min_win_rate: float = 0.5
    """What the win rate must be shown to be above; with less than a half, a candidate may be that much worse."""
    kl_prompts: int = 64
    """Of the gate's prompts, whose first answers the KL is measured along."""
    max_kl: float = 60.0
    """To the live policy, nats per answer."""
    max_kl_base: float = 120.0
    """To the base model: the cap of the lineage."""
    length_ratio: tuple[float, float] = (0.5, 1.6)
    """Bounds of the mean length of answers that came to their end, candidate over live."""
    more_repetition: float = 0.05
    """By how much the share of answers that repeat themselves may rise."""
    more_missing_end: float = 0.05
    """By how much the share of answers cut off at `max_tokens` may rise."""
    variety_fall: float = 0.05
    """By how much the share of different token pairs in a prompt's good answers may fall."""
    min_varied: int = 24
    """Prompts that both policies answered well, without which that decides nothing."""
    min_intent_prompts: int = 12
    """An intent with fewer of the gate's prompts is not judged by itself."""
    min_golden: int = 8
    """Held-out corrections without which their likelihood decides nothing."""
    golden_fall: float = 0.1
    """Nats per token by which corrected answers may become less likely: whoever learns what to say becomes surer of it,
    and finds every other wording less likely."""
    safety_prompts: tuple[str, ...] = ()
    """Asked beside the built-in ones."""
    significance: float = 0.05
    """Of a fall in some intent, after Holm's correction for their number, of one in safety, and of reward hacking."""
    tripwire_every: int = 3
    """Iterations of PPO between two looks for reward hacking."""
    tripwire_prompts: int = 48
    """Asked at each look, the same ones."""
    resamples: int = 300
    seed: int = 0
