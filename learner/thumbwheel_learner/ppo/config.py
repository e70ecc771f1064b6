"""How PPO improves a policy, and what a run of it reports."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from thumbwheel_learner.model.lora import LoraConfig


@dataclass(frozen=True)
class PpoConfig:
    """How the policy is improved. Lengths in tokens, KL in nats per answer."""

    lora: LoraConfig = field(default_factory=LoraConfig)
    """Of a first version; a later one keeps its parent's."""
    iterations: int = 48
    """At most; `within` may find that the evidence bears fewer."""
    answers_per_label: float = 26.0
    """Answers sampled per label that the reward model was trained on; 0: as many as `iterations` allows.

    A reward model is the sooner overoptimised the fewer labels it knows (Gao et al. 2210.10760). A quarter of this
    comes within some two points of what it gives."""
    prompts_per_iteration: int = 32
    answers_per_prompt: int = 8
    """With more than one, each is scored against the mean of the others: what a prompt is worth cancels out."""
    max_prompt: int = 384
    """Longer prompts are not practised on."""
    max_tokens: int = 64
    temperature: float = 1.0
    epochs: int = 1
    minibatch_answers: int = 32
    """Answers per optimiser step."""
    step_tokens: int = 512
    """Padded tokens per pass that looks how far the steps went; a training pass holds one prompt and its answers."""
    batch_tokens: int = 2048
    """Padded tokens per forward pass that needs no gradient."""
    learning_rate: float = 6e-3
    """At a width of 192; wider models get less (`PolicyModel.rate`), here and for the critic."""
    final_learning_rate: float = 0.3
    """Share of the learning rate that is left at the last iteration; linear in between."""
    averaged: float = 0.75
    """Share of the iterations, the last ones, whose policies are averaged into the one that is kept; 0: the last."""
    adam_eps: float = 1e-5
    max_grad_norm: float = 1.0
    prompt_clip: float | None = 0.25
    """Quantile of the prompts' gradient norms to which every longer one is shortened: a few odd answers have gradients
    a hundred times those of others and would decide every step."""
    clip: float = 0.2
    value_clip: float = 0.2
    critic: Literal["frozen", "adapter"] = "frozen"
    """What the value head reads: the reference's states (computed anyway), or those of an adapter of its own."""
    critic_learning_rate: float = 1e-3
    critic_epochs: int = 4
    """Passes of the frozen critic over each iteration's answers; the other kind learns with the policy."""
    gamma: float = 1.0
    lam: float = 1.0
    """Below 1 an answer's first tokens, which decide what it is about, hear of the score at its end through the critic
    alone; with answers scored against each other little variance is left to trade for that."""
    whiten_rewards: bool = True
    pessimism: float = 0.5
    """Standard deviations over the reward members that are taken from their mean."""
    reward_clip: float = 5.0
    """Bound of the normalised score."""
    missing_end_penalty: float = 1.0
    """Taken from the normalised score of an answer that was cut off before its end token."""
    diversity: float = 1.0
    """Taken from the normalised score of one of a prompt's better answers that says what the others of them say, and in
    proportion where it has a part of their words (`diversity.resemblance`)."""
    token_credit: float = 0.0
    """Share of the score that is spread over an answer's tokens by the reward model's attention; the rest is paid at
    its end (Chan et al. 2402.00782)."""
    kl_coef: float = 0.1
    """Price of a nat to the run's starting policy, at first and at least."""
    kl_target: float = 1.5
    """Where the policy is further away than this the price rises; a reward model that is right takes it about one nat
    away in as many answers as its labels bear, a wrong one takes it anywhere."""
    kl_horizon: float = 256.0
    """Answers after which the price doubles at twice the target."""
    kl_budget: float = 30.0
    """A policy found beyond this is thrown away and the run stops."""
    importance_cap: float = 2.0
    sft_coef: float = 0.0
    """Weight of the demonstrations' loss in every minibatch."""
    target_step_kl: float | None = 0.05
    """Mean KL per token between the policy that sampled and the new one. A step that leaves it further away is taken
    back: the learning rate was too high for this model, or the iteration has moved as far as its answers bear."""
    rise: float = 0.05
    """Level at which what is maximised must have risen over the iterations (`rise.went_nowhere`); where it has not,
    nothing of the run is kept: steps that climb nothing are a walk at random. 1: whatever comes is kept."""
    seed: int = 0

    def within(self, labels: int) -> "PpoConfig":
        """The same with no more iterations than `labels` bear, one at least."""
        if not self.answers_per_label:
            return self
        answers = self.prompts_per_iteration * self.answers_per_prompt
        borne = max(1, round(self.answers_per_label * labels / answers))
        return replace(self, iterations=min(self.iterations, borne))


@dataclass(frozen=True)
class PpoReport:
    """What a run did, iteration by iteration."""

    iterations: int
    answers: int
    stopped: str | None
    """Why the run ended early."""
    kl: float
    """To the run's starting policy, nats per answer, of the last policy that sampled; the average is nearer."""
    kl_base: float
    history: list[dict[str, float]]
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """For manifests and reports."""
        return asdict(self)
