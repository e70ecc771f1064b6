"""One frozen base model in memory; policy, reference, critic and reward members are adapters on it."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch, transformers and safetensors are partial; what leaves this file is typed)

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast
from zlib import crc32

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from thumbwheel_learner.distributed.shard import shard_blocks
from thumbwheel_learner.distributed.world import ALONE, World
from thumbwheel_learner.model.abilities import check_split, reads_prompts_once, resumes_at
from thumbwheel_learner.model.adapters import BadAdapter, read_adapter, write_adapter
from thumbwheel_learner.model.blocks import Blocks, Reached, stack_of
from thumbwheel_learner.model.lora import Active, LoraConfig, LoraLinear, UnsuitableModel, parameters_of, wrap_linears
from thumbwheel_learner.model.parallel import SideBySide
from thumbwheel_learner.model.recompute import forward_and_again
from thumbwheel_learner.model.scoring import Compared, TokenScores, compare, token_scores
from thumbwheel_learner.model.tokens import Batch, ChatTokenizer, make_batch, make_shared_batch, runs_of_equal

TUNED_WIDTH = 192
"""Of the model on which the default learning rates were found."""


@dataclass(frozen=True)
class Memory:
    """What to trade for memory."""

    logit_chunk: int = 2048
    """Answer tokens whose logits exist at once, at most."""
    logit_bytes: int = 1 << 27
    """What their logits may take in float32: with a large vocabulary fewer tokens than `logit_chunk` do."""
    gradient_checkpointing: bool = False
    """Keep only layer borders in the forward pass and recompute the rest."""

    def chunk(self, vocabulary: int) -> int:
        """Answer tokens whose logits exist at once."""
        return max(1, min(self.logit_chunk, self.logit_bytes // (4 * vocabulary)))


class PolicyModel:
    """The base with its adapters; an adapter is chosen with `using`, nothing is ever merged."""

    def __init__(
        self,
        base: PreTrainedModel,
        tokens: ChatTokenizer,
        *,
        memory: Memory,
        seed: int,
        workers: int = 1,
        world: World = ALONE,
        shard: bool = False,
    ) -> None:
        """Take over a model whose dropout is off; raises `UnsuitableModel`.

        `shard` spreads the base over the processes of `world`, which all make their own `PolicyModel` of it.
        """
        self.base: Any = base
        self.tokens = tokens
        self.memory = memory
        self.world = world
        shard = shard and world.size > 1
        self.side_by_side = SideBySide(1 if shard else workers, world, in_step=shard)
        self.hidden_size = int(self.base.config.get_text_config().hidden_size)
        self._active = Active()
        self._configs: dict[str, LoraConfig] = {}
        self._seed = seed
        self.base.requires_grad_(False)
        self.base.eval()
        self.layers: dict[str, LoraLinear] = wrap_linears(base, self._active)
        self._body: Any = self.base.base_model
        if shard:
            self._shard(base)
        self.blocks = Blocks(base)
        self._head: Any = self.base.get_output_embeddings()
        self._chunk = memory.chunk(len(self._head.weight))
        if memory.gradient_checkpointing:
            again = partial(forward_and_again, self._active, self.blocks.fan)
            self.base.gradient_checkpointing_enable({"use_reentrant": False, "context_fn": again})
        self._resumes: dict[int, bool] = {}
        check_split(self)
        self.shares_prompts = reads_prompts_once(self)

    def _shard(self, base: PreTrainedModel) -> None:
        _, blocks = stack_of(base)
        if not blocks:
            raise UnsuitableModel(f"{type(base).__name__} has no stack of blocks to spread over processes")
        shard_blocks(blocks, self.world.size)

    def rate(self, learning_rate: float) -> float:
        """A learning rate that suits an adapter on a model of width 192, for this model: smaller as it is wider.

        With Adam the best rate of a hidden layer falls as 1 / width (Yang et al. 2022, arXiv:2203.03466); 2e-3 here is
        1e-4 at a width of 4,096, the habit there.
        """
        return learning_rate * min(1.0, TUNED_WIDTH / self.hidden_size)

    @property
    def device(self) -> torch.device:
        """Where the base lives."""
        return cast(torch.device, self.base.device)

    def add(self, name: str, config: LoraConfig | None = None, *, first_block: int = 0) -> None:
        """A fresh adapter, which changes nothing yet; its A depends on the model's seed and the name alone.

        It sits on the blocks from `first_block` up, by default on all.
        """
        self._configs[name] = config or LoraConfig()
        generator = torch.Generator().manual_seed(self._seed * 0x9E3779B1 + crc32(name.encode()))
        for path, layer in self.layers.items():
            if first_block == 0 or self.blocks.index_of(path) >= first_block:
                layer.add(name, self._configs[name], generator)

    def load(self, name: str, folder: Path) -> None:
        """An adapter from a PEFT folder, under `name`; raises `BadAdapter` when it does not fit this base."""
        weights, config = self.world.from_first(lambda: read_adapter(folder))
        self.put(name, weights, config, where=str(folder))

    def put(self, name: str, weights: dict[str, tuple[Tensor, Tensor]], config: LoraConfig, *, where: str) -> None:
        """An adapter from tensors, under `name`; layers that the tensors leave out have none."""
        for path, (a, b) in weights.items():
            layer = self.layers.get(path)
            if layer is None:
                raise BadAdapter(f"{where}: the base model has no linear layer {path!r}")
            if a.shape != (config.rank, layer.inputs) or b.shape != (layer.outputs, config.rank):
                raise BadAdapter(f"{where}: {path} has shapes {tuple(a.shape)}, {tuple(b.shape)}, not of this base")
        self.remove(name)
        self._configs[name] = config
        for path, (a, b) in weights.items():
            self.layers[path].put(name, a, b, config)

    def weights(self, name: str) -> dict[str, tuple[Tensor, Tensor]]:
        """Module path -> copies of (A, B)."""
        mine = {path: layer for path, layer in self.layers.items() if name in layer.a}
        return {path: (x.a[name].detach().clone(), x.b[name].detach().clone()) for path, x in mine.items()}

    def copy(self, source: str, target: str) -> None:
        """Make `target` a frozen-in-time duplicate of `source`."""
        self.put(target, self.weights(source), self._configs[source], where=source)

    def save(self, name: str, folder: Path) -> Path:
        """Write an adapter as a PEFT folder and return it."""
        transposed = any(layer.transposed for layer in self.layers.values())
        weights, config = self.weights(name), self._configs[name]
        self.world.from_first(lambda: write_adapter(folder, weights, config, transposed=transposed))
        return folder

    def start(self, name: str, folder: Path | None, config: LoraConfig) -> None:
        """Begin `name` from a parent's folder (keeping its rank), or fresh when the parent is the bare base."""
        self.remove(name)
        if folder is None:
            self.add(name, config)
        else:
            self.load(name, folder)

    def remove(self, name: str) -> None:
        """Forget an adapter, if there is one of this name."""
        if self._configs.pop(name, None):
            for layer in self.layers.values():
                layer.remove(name)

    def has(self, name: str) -> bool:
        """Whether there is an adapter of this name."""
        return name in self._configs

    def parameters(self, name: str) -> list[nn.Parameter]:
        """The trainable tensors of one adapter, in a fixed order."""
        return list(parameters_of(self.layers, name))

    @property
    def used(self) -> tuple[str, ...]:
        """Names of the adapters that this thread's passes apply now."""
        return self._active.names

    @contextmanager
    def using(self, *names: str) -> Iterator[None]:
        """Apply these adapters inside; none is the bare base, several split the batch evenly."""
        before, self._active.names = self._active.names, names
        try:
            yield
        finally:
            self._active.names = before

    def hidden(self, batch: Batch, *, repeats: int = 1, first_block: int = 0, below: Tensor | None = None) -> Tensor:
        """[repeats * B, T, D] last hidden states; `repeats` lays the batch out once per active adapter.

        Adapters that begin at `first_block` share one pass through the blocks below it, and none is made when `below`
        holds its result (`states_below`).
        """
        if repeats > 1 and first_block > 0:
            with self.blocks.fan_out(len(batch.ids), repeats, first_block):
                return self.hidden(batch, first_block=first_block, below=below)
        body: Any = self._body if below is None else self.upper(first_block)
        ids = batch.ids.repeat(repeats, 1)
        positions = batch.positions if batch.attention is None else batch.positions.repeat(repeats, 1)
        attention = None if batch.attention is None else self._mask(batch.attention, repeats)
        checkpointing = self.memory.gradient_checkpointing and torch.is_grad_enabled()
        if checkpointing:
            self.base.train()  # transformers checkpoints in training mode only; frozen dropout is set to 0 at load
        try:
            out = body(
                **({"input_ids": ids.to(self.device)} if below is None else {"inputs_embeds": below}),
                attention_mask=attention,
                position_ids=positions.to(self.device),
                use_cache=False,
            )
        finally:
            if checkpointing:
                self.base.eval()
        return cast(Tensor, out.last_hidden_state)

    @torch.no_grad()
    def states_below(self, batch: Batch, first_block: int) -> Tensor:
        """[B, T, D] what the bare base hands to a block: it never changes while adapters from there up learn."""
        with self.using(), self.blocks.stop_before(first_block):
            try:
                self.hidden(batch)
            except Reached as reached:
                return reached.states
        raise UnsuitableModel(f"{type(self.base).__name__} has no block {first_block}")

    def upper(self, first_block: int) -> Any:
        """The body from a block up; None where its blocks cannot be told apart."""
        return self.blocks.upper(self._body, first_block)

    def resumes_at(self, first_block: int) -> bool:
        """Whether a forward pass may begin at a block with the states below it."""
        if first_block not in self._resumes:
            self._resumes[first_block] = resumes_at(self, first_block)
        return self._resumes[first_block]

    def _mask(self, attention: Tensor, repeats: int) -> Tensor:
        """As transformers take it: [B, T] as it is, [B, 1, T, T] as what is added to the scores."""
        attention = attention.repeat(repeats, *([1] * (attention.dim() - 1))).to(self.device)
        if attention.dim() == 2:
            return attention
        added = torch.zeros(attention.shape, dtype=self.base.dtype, device=self.device)
        return added.masked_fill_(~attention, torch.finfo(self.base.dtype).min)

    def batch(self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> Batch:
        """The answers after their prompts; neighbours with the same prompt share it, where this model can do that."""
        groups = runs_of_equal(prompts)
        window = getattr(self.base.config.get_text_config(), "sliding_window", None)
        longest = max(len(p) + len(a) for p, a in zip(prompts, answers, strict=True))
        if len(groups) == len(answers) or not self.shares_prompts or (window and longest > window):
            return make_batch(prompts, answers, pad_id=self.tokens.pad_id)
        return make_shared_batch(prompts, answers, pad_id=self.tokens.pad_id, shared=groups)

    def logits(self, hidden: Tensor) -> Tensor:
        """[..., D] -> [..., V] in float32, with the scalings that Gemma, Granite and Cohere put behind the head."""
        config = self.base.config.get_text_config()
        logits = cast(Tensor, self._head(hidden)).float()
        if scaling := getattr(config, "logits_scaling", None):
            logits = logits / float(scaling)
        if scale := getattr(config, "logit_scale", None):
            logits = logits * float(scale)
        cap = getattr(config, "final_logit_softcapping", None)
        return logits if not cap else torch.tanh(logits / cap) * cap

    def token_scores(self, states: Tensor, targets: Tensor, temperature: float) -> TokenScores:
        """[N, D] hidden states that predict `targets` [N]: log-probabilities in chunks, logits never kept whole."""
        return token_scores(self.logits, states, targets, temperature, self._chunk)

    def compare(self, states: Tensor, other: Tensor, targets: Tensor, temperature: float) -> Compared:
        """Two policies' states [N, D] on the same tokens; logits are made once for scores and KL."""
        return compare(self.logits, states, other, targets, temperature, self._chunk)

    def token_kl(self, states: Tensor, other: Tensor, temperature: float) -> Tensor:
        """[N] KL(policy ‖ other) at every position, exact over the vocabulary, nats.

        Summed along sampled answers it estimates the sequences' KL without bias, and with far less spread than
        estimates from the sampled tokens alone, which hang on the few tokens that the other policy finds a thousand
        times likelier (Amini et al. 2025, arXiv:2504.10637).
        """
        nothing = torch.zeros(len(states), dtype=torch.long, device=states.device)
        return self.compare(states, other, nothing, temperature).kl

    def answer_states(self, hidden: Tensor, batch: Batch) -> Tensor:
        """[N, D] the hidden states that predict the answer tokens."""
        return hidden[batch.rows.to(self.device), batch.columns.to(self.device)]

    def states_under(self, names: Sequence[str], batch: Batch) -> Tensor:
        """`answer_states` of a forward pass with these adapters; none is the bare base."""
        with self.using(*names):
            return self.answer_states(self.hidden(batch), batch)

    def score_answers(self, batch: Batch, temperature: float = 1.0) -> TokenScores:
        """Log-probabilities of the answers under the active adapter, flat [N]."""
        states = self.answer_states(self.hidden(batch), batch)
        return self.token_scores(states, batch.targets.to(self.device), temperature)
