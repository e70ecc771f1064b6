"""Supervised fine-tuning on what people say should have been said: the first step of a run, and of a lineage.

Loss on answer tokens only, the end token among them; LoRA on the frozen base; early stop on a held-out slice when
there are enough demonstrations to spare one.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch, transformers and safetensors are partial; what leaves this file is typed)

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from thumbwheel_learner.dataset.examples import Snapshot
from thumbwheel_learner.errors import LearnerError
from thumbwheel_learner.model.lora import LoraConfig
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.model.tokens import by_length, fit
from thumbwheel_learner.progress import Progress, silent
from thumbwheel_learner.reward.labels import Row, batch_of, prompt_key

ADAPTER = "policy"
PART_TOKENS = 512
"""Padded tokens per forward and backward pass; a step of more goes through in parts, side by side."""


@dataclass(frozen=True)
class SftConfig:
    """How demonstrations are learned."""

    lora: LoraConfig = field(default_factory=LoraConfig)
    """Of a first version; a later one keeps its parent's."""
    epochs: int = 4
    learning_rate: float = 1.5e-3
    """At a width of 192; wider models get less (`PolicyModel.rate`)."""
    batch_tokens: int = 1024
    """Padded tokens per optimiser step."""
    max_length: int = 512
    max_grad_norm: float = 1.0
    weight_decay: float = 0.0
    held_out: float = 0.1
    """Share kept for early stopping, if that is at least `min_held_out` demonstrations."""
    min_held_out: int = 8
    seed: int = 0


class NoDemonstrations(LearnerError):
    """The snapshot holds neither corrections nor demonstrations."""


@dataclass(frozen=True)
class SftReport:
    """What a run did; losses in nats per answer token."""

    demonstrations: int
    steps: int
    epochs_run: int
    loss_before: float
    loss_after: float
    held_out_before: float | None
    held_out_after: float | None
    """Of the epoch that was kept."""
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """For manifests and reports."""
        return asdict(self)


def demo_rows(snapshot: Snapshot, model: PolicyModel, max_length: int) -> list[Row]:
    """Demonstrations as token rows; of several for one prompt all are kept, exact repeats once."""
    seen: set[tuple[str, str]] = set()
    rows: list[Row] = []
    for demo in sorted(snapshot.demos, key=lambda d: d.created_ms):
        identity = (prompt_key(demo.messages), demo.text)
        if identity not in seen:
            seen.add(identity)
            tokens = model.tokens
            rows.append(Row(*fit(tokens.prompt_ids(demo.messages), tokens.answer_ids(demo.text), max_length)))
    return rows


def answer_loss(model: PolicyModel, rows: Sequence[Row]) -> Tensor:
    """Mean negative log-likelihood per answer token under the active adapter; differentiable."""
    batch = batch_of(rows, model.tokens.pad_id)
    return -model.score_answers(batch).logprobs.mean()


def _add_gradients(model: PolicyModel, rows: list[Row], parameters: list[nn.Parameter]) -> float:
    """Gradients of `answer_loss`, in parts; returns the loss."""
    parts = [[rows[i] for i in part] for part in by_length([len(r) for r in rows], PART_TOKENS)]
    tokens = sum(len(r.answer) for r in rows)

    def loss_of(part: list[Row]) -> tuple[Tensor, float]:
        with model.using(ADAPTER):
            loss = answer_loss(model, part) * (sum(len(r.answer) for r in part) / tokens)
        return loss, loss.item()

    return sum(model.side_by_side.add_gradients(loss_of, parts, parameters))


@torch.no_grad()
def mean_loss(model: PolicyModel, rows: Sequence[Row], batch_tokens: int) -> float:
    """`answer_loss` over many rows, batched by length."""
    names = model.used

    def total_of(group: list[int]) -> float:
        with model.using(*names):
            loss = answer_loss(model, [rows[i] for i in group]).item()
        return loss * sum(len(rows[i].answer) for i in group)

    groups = list(by_length([len(r) for r in rows], batch_tokens))
    return sum(model.side_by_side.map(total_of, groups)) / max(sum(len(r.answer) for r in rows), 1)


def train_sft(
    model: PolicyModel,
    start: Path | None,
    snapshot: Snapshot,
    config: SftConfig,
    folder: Path,
    *,
    extra: Sequence[Row] = (),
    progress: Progress = silent,
) -> tuple[Path, SftReport]:
    """Teach the demonstrations, and `extra` ones that no person wrote, to a copy of `start`; see `train_rows`."""
    return train_rows(
        model, start, [*demo_rows(snapshot, model, config.max_length), *extra], config, folder, progress=progress
    )


def train_rows(
    model: PolicyModel,
    start: Path | None,
    rows: Sequence[Row],
    config: SftConfig,
    folder: Path,
    *,
    progress: Progress = silent,
) -> tuple[Path, SftReport]:
    """Teach these answers to a copy of `start` (None: the bare base) and write it to `folder`.

    Raises `NoDemonstrations`.
    """
    started = time.monotonic()
    if not rows:
        raise NoDemonstrations("the snapshot holds neither corrections nor demonstrations")
    generator = torch.Generator().manual_seed(config.seed)
    kept_back = round(len(rows) * config.held_out)
    order: list[int] = torch.randperm(len(rows), generator=generator).tolist()
    held = [rows[i] for i in order[:kept_back]] if kept_back >= config.min_held_out else []
    train = [rows[i] for i in (order[kept_back:] if held else order)]
    model.start(ADAPTER, start, config.lora)
    with model.using(ADAPTER):
        before = mean_loss(model, train, config.batch_tokens)
        held_before = mean_loss(model, held, config.batch_tokens) if held else None
        steps, epochs_run, held_after = _epochs(model, train, held, held_before, config, generator, progress)
        after = mean_loss(model, train, config.batch_tokens)
    model.save(ADAPTER, folder)
    seconds = time.monotonic() - started
    report = SftReport(len(rows), steps, epochs_run, before, after, held_before, held_after, seconds)
    return folder, report


def _epochs(
    model: PolicyModel,
    train: list[Row],
    held: list[Row],
    held_before: float | None,
    config: SftConfig,
    generator: torch.Generator,
    progress: Progress,
) -> tuple[int, int, float | None]:
    """Train; with a held-out slice keep the best epoch (the start among them) and stop at the first that is worse."""
    parameters = model.parameters(ADAPTER)
    optimizer = torch.optim.AdamW(parameters, lr=model.rate(config.learning_rate), weight_decay=config.weight_decay)
    lengths = [len(r) for r in train]
    epochs = [list(by_length(lengths, config.batch_tokens, generator)) for _ in range(config.epochs)]
    steps, step = sum(map(len, epochs)), 0
    anneal = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: max(0.0, 1 - done / steps))
    best, kept = held_before, [p.detach().clone() for p in parameters]
    for epoch, batches in enumerate(epochs):
        for group in batches:
            loss = _add_gradients(model, [train[i] for i in group], parameters)
            nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
            anneal.step()
            step += 1
            progress("sft", step / steps, f"epoch {epoch + 1}/{config.epochs}, loss {loss:.3f}")
        if best is None:
            continue
        now = mean_loss(model, held, config.batch_tokens)
        if now >= best:
            with torch.no_grad():
                for parameter, old in zip(parameters, kept, strict=True):
                    parameter.copy_(old)
            return step, epoch + 1, best
        best, kept = now, [p.detach().clone() for p in parameters]
    return step, len(epochs), best
