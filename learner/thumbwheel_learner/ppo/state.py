"""What a PPO run is: its experience, its critic, and the state it can be resumed from."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch, transformers and safetensors are partial; what leaves this file is typed)

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from thumbwheel_learner.model.lora import LoraConfig
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.model.tokens import Batch, by_length, runs_of_equal
from thumbwheel_learner.ppo.config import PpoConfig
from thumbwheel_learner.ppo.estimators import KlController

POLICY, REFERENCE, CRITIC = "policy", "reference", "critic"
NORMS = 128
"""Prompts whose gradients' lengths are remembered."""


@dataclass
class Experience:
    """One iteration's answers; all tensors [B, A] over answer tokens unless said otherwise."""

    prompts: list[list[int]]
    answers: list[list[int]]
    mask: Tensor
    logprobs: Tensor
    """Of the policy that sampled, as the trainer computes them."""
    reference: Tensor
    kl: Tensor
    """KL(policy ‖ reference) at every token, exact over the vocabulary."""
    behaviour: Tensor
    """As the engine reported them."""
    values: Tensor
    states: list[Tensor]
    """Per answer [A_i, D] reference states for the frozen critic."""
    entropy: float = 0.0
    advantages: Tensor = field(default_factory=lambda: torch.empty(0))
    returns: Tensor = field(default_factory=lambda: torch.empty(0))

    def batch(self, group: Sequence[int], model: PolicyModel) -> Batch:
        """Some of the answers, padded together."""
        return model.batch([self.prompts[i] for i in group], [self.answers[i] for i in group])

    def parts(self, indices: Sequence[int], tokens: int) -> list[list[int]]:
        """Indices in groups of at most `tokens` padded tokens and of like length; a prompt's answers stay together."""
        runs = self.by_prompt(indices)
        lengths = [len(self.prompts[r[0]]) + sum(len(self.answers[i]) for i in r) for r in runs]
        return [[i for n in group for i in runs[n]] for group in by_length(lengths, tokens)]

    def by_prompt(self, indices: Sequence[int]) -> list[list[int]]:
        """Indices in groups of neighbours that answer the same prompt."""
        return [[indices[i] for i in run] for run in runs_of_equal([self.prompts[i] for i in indices])]


class Critic(nn.Module):
    """State -> value; the last layer starts at zero, so the first advantages are plain returns."""

    def __init__(self, width: int, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.inner = nn.Linear(width, 128)
            self.outer = nn.Linear(128, 1)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, states: Tensor) -> Tensor:
        """[N, D] -> [N]."""
        scaled = states.float() * torch.rsqrt(states.float().square().mean(-1, keepdim=True) + 1e-6)
        return self.outer(torch.tanh(self.inner(scaled))).squeeze(-1)


@dataclass
class Updates:
    """How far the steps of one iteration have come."""

    minibatches: int = 0
    """Scored so far, in the order in which the iteration draws them."""
    seen: list[dict[str, float]] = field(default_factory=list[dict[str, float]])
    """Figures of those that were followed by a step."""
    kl: float = 0.0
    """To the policy that sampled, before the last step, nats per token."""
    taken_back: int = 0
    is_over: bool = False


class PpoRun:
    """The state of one run: what a checkpoint holds, and what an iteration changes."""

    def __init__(self, model: PolicyModel, start: Path | None, config: PpoConfig) -> None:
        """Policy and reference are the same adapter at first."""
        self.model, self.config = model, config
        model.start(POLICY, start, config.lora)
        model.remove(REFERENCE)
        model.copy(POLICY, REFERENCE)
        self.critic = Critic(model.hidden_size, config.seed).to(model.device)
        critic_parameters = list(self.critic.parameters())
        if config.critic == "adapter":
            model.remove(CRITIC)
            model.add(CRITIC, LoraConfig(8, 16))
            critic_parameters += model.parameters(CRITIC)
        self.optimizer = torch.optim.Adam(model.parameters(POLICY), lr=config.learning_rate, eps=config.adam_eps)
        self.critic_optimizer = torch.optim.Adam(critic_parameters, lr=config.critic_learning_rate, eps=config.adam_eps)
        self.controller = KlController(config.kl_coef, config.kl_target, config.kl_horizon)
        self.iteration = 0
        self.rate_scale = 1.0
        """Share of the learning rate that is left after steps that went too far."""
        self.updates = Updates()
        self.norms: list[float] = []
        """Of the last prompts' gradients."""
        self.average: list[Tensor] = []
        """Of the policies after the last iterations."""
        self._before: list[Tensor] = []
        self.reward_mean = 0.0
        self.reward_std = 1.0
        self.stopped: str | None = None
        self.history: list[dict[str, float]] = []

    def adapters(self) -> list[str]:
        """Names of the adapters that training changes."""
        return [POLICY, CRITIC] if self.config.critic == "adapter" else [POLICY]

    def remember(self) -> None:
        """Keep the adapters as they are now, before a step."""
        self._before = [p.detach().clone() for name in self.adapters() for p in self.model.parameters(name)]

    def bound(self, norms: Sequence[float], quantile: float) -> float:
        """The longest gradient that a prompt may have now, from these and those before (AutoClip, Seetharaman et al.
        2020, arXiv:2007.14469, for single prompts)."""
        self.norms = [*self.norms, *norms][-NORMS:]
        return float(torch.tensor(self.norms).quantile(quantile))

    def average_in(self) -> None:
        """Count the policy after an iteration, if it is one of the last ones.

        Steps along noisy gradients leave a policy away from where they lead on average, and their mean near it (Polyak
        and Juditsky 1992; of language models Ramé et al. 2024, arXiv:2406.16768).
        """
        first = math.ceil(self.config.iterations * (1 - self.config.averaged))
        if self.iteration < first or not self.config.averaged:
            return
        now = [p.detach() for p in self.model.parameters(POLICY)]
        count = self.iteration - first + 1
        if not self.average:
            self.average = [torch.zeros_like(p) for p in now]
        for mean, parameter in zip(self.average, now, strict=True):
            mean.add_((parameter - mean) / count)

    def go_back(self) -> None:
        """Make the policy what it was when the run began."""
        with torch.no_grad():
            for parameter, old in zip(self.model.parameters(POLICY), self.model.parameters(REFERENCE), strict=True):
                parameter.copy_(old)

    def settle(self) -> None:
        """Make the average the policy; without one it stays as it is."""
        if not self.average:
            return
        with torch.no_grad():
            for parameter, mean in zip(self.model.parameters(POLICY), self.average, strict=True):
                parameter.copy_(mean)

    def take_back(self) -> None:
        """Undo the last step."""
        trained = [p for name in self.adapters() for p in self.model.parameters(name)]
        with torch.no_grad():
            for parameter, old in zip(trained, self._before, strict=True):
                parameter.copy_(old)

    def values(self, batch: Batch, reference_states: Tensor) -> Tensor:
        """[N] value before every answer token, from the reference's states or from the critic's own adapter."""
        if self.config.critic == "frozen":
            return self.critic(reference_states)
        with self.model.using(CRITIC):
            return self.critic(self.model.answer_states(self.model.hidden(batch), batch))

    def state(self) -> dict[str, Any]:
        """Everything an uninterrupted run would remember; random numbers depend on (seed, iteration) only."""
        return {
            "adapters": {n: [p.detach() for p in self.model.parameters(n)] for n in self.adapters()},
            "before": self._before if self.updates.minibatches else [],
            "critic": self.critic.state_dict(),
            "optimizers": [self.optimizer.state_dict(), self.critic_optimizer.state_dict()],
            "kl_coef": self.controller.coef,
            "iteration": self.iteration,
            "updates": asdict(self.updates),
            "rate_scale": self.rate_scale,
            "norms": self.norms,
            "average": self.average,
            "reward": [self.reward_mean, self.reward_std],
            "stopped": self.stopped,
            "history": self.history,
        }

    def load_state(self, saved: dict[str, Any]) -> None:
        """Be as the run was whose `state` this is."""
        with torch.no_grad():
            for name in self.adapters():
                for parameter, old in zip(self.model.parameters(name), saved["adapters"][name], strict=True):
                    parameter.copy_(old)
        self._before = saved["before"]
        self.critic.load_state_dict(saved["critic"])
        self.optimizer.load_state_dict(saved["optimizers"][0])
        self.critic_optimizer.load_state_dict(saved["optimizers"][1])
        self.controller.coef = saved["kl_coef"]
        self.iteration, self.stopped, self.history = saved["iteration"], saved["stopped"], saved["history"]
        self.updates = Updates(**saved["updates"])
        self.reward_mean, self.reward_std = saved["reward"]
        self.rate_scale, self.norms, self.average = saved["rate_scale"], saved["norms"], saved["average"]
