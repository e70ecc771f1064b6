"""How a reward model is built and trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Pooling = Literal["last", "mean", "both"]
ADAPTERS, FROZEN = "adapters", "frozen"


@dataclass(frozen=True)
class RewardConfig:
    """How the reward model is trained."""

    members: int = 2
    trunk: str = ADAPTERS
    """What the heads read: the base under an adapter of each member's own (`adapters`), the base as it is (`frozen`),
    or an encoder, by the folder that transformers loads it from."""
    rank: int = 8
    alpha: int = 16
    adapted_blocks: float = 0.25
    """Upper share of the transformer blocks that carry adapters; the members share one pass through the rest."""
    pooling: Pooling = "both"
    """What the head reads: the state at the end token, the mean over the answer, or the two side by side."""
    likelihood: bool = True
    """Whether the heads also read how likely the bare base finds the answer (`likelihood.py`)."""
    epochs: int = 0
    """0: as many as it takes to see `judgements`, one at least and sixteen at most."""
    judgements: int = 3_000
    """What a small model needs is steps, what a large set of labels needs is no repetition."""
    fitted: float = 0.05
    """An epoch whose mean loss is below this is the last one: nothing is left to learn from these labels."""
    batch_tokens: int = 512
    """Padded tokens per step and member: small steps learned more from few labels than large ones, in less time."""
    part_tokens: int = 512
    """Padded tokens per forward and backward pass; a step of more goes through in parts, side by side."""
    max_length: int = 512
    """Tokens of prompt and answer together; the far end of a longer prompt is cut."""
    learning_rate: float = 1e-3
    """At a width of 192; wider models get less (`PolicyModel.rate`), here and for the heads."""
    head_learning_rate: float = 1e-3
    likelihood_learning_rate: float = 0.02
    """Of the weights on the likelihood, whatever the width: two features are learned from few labels."""
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    user_bias_precision: float = 4.0
    """Gaussian prior on each user's bias: 1 / variance, in logits."""
    centering: float = 0.01
    """Weight of (mean reward)^2: fixes the level that pairs leave free."""
    prior_scale: float = 0.0
    """Scale of each member's fixed random head on its untrained features (Osband et al. 2018); 0 leaves it out."""
    bootstrap: bool = False
    """Each member weighs users by its own Poisson(1) draw, as a bootstrap of users does. Off: members that differ in
    their random start alone predict better (Lakshminarayanan et al. 2017, arXiv:1612.01474; here too, see
    docs/experiments.md)."""
    mismatched: int = 1
    """Preferred answers of other conversations that each pair's preferred one is set against (`labels.mismatched`)."""
    length_head: float = 0.0
    """Weight of the losses of a second head that takes upon itself what length explains and is not kept
    (`length_head.py`; Chen et al. 2024, arXiv:2402.07319, who take 1); 0 leaves it out."""
    meta_rate: float = 0.0
    """Step towards telling the current policy's answers apart, before each gradient is taken (`meta_step.py`; Dou et
    al. 2024, arXiv:2405.00438); 0 leaves it out."""
    outcomes: Sequence[str] = ()
    """Names of yes-or-no outcomes to learn from: good where true, or bad with a minus before the name."""
    trunk_bytes: int = 1 << 30
    """What the frozen blocks below the adapters make of the labels is kept up to this size instead of made anew."""
    held_out: float = 0.15
    seed: int = 0


HEADS_ALONE: Mapping[str, Any] = {"members": 8, "bootstrap": True, "prior_scale": 1.0}
"""What suits a trunk that does not learn: heads alone are cheap, and agree unless they are kept from it."""
