"""Train the demo policy from nothing: ``python -m thumbwheel_demo.policy.train --out DIR``."""

import argparse
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

import torch
from torch.nn import functional
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from thumbwheel_demo.corpus.prompts import dialogues
from thumbwheel_demo.policy.batches import Batch, batches, encode, texts
from thumbwheel_demo.policy.template import END, PAD
from thumbwheel_demo.policy.tokenizer import MAX_LENGTH, train_tokenizer


@dataclass(frozen=True)
class TrainSettings:
    """What a run depends on; the same values and the same machine give the same weights.

    ``steps`` x ``batch`` dialogues are read once each. ``context_weight`` is the loss weight of what the
    customer says: enough to keep the policy fluent there, little enough not to spend its few parameters
    on numbers that nobody can predict. Matrices are trained with Muon, which needs about half of Adam's
    steps here; embeddings and norms with AdamW.
    """

    seed: int = 0
    steps: int = 1200
    batch: int = 64
    muon_rate: float = 0.02
    adam_rate: float = 0.004
    warmup: int = 50
    decay: float = 0.5
    context_weight: float = 0.1
    hidden: int = 192
    layers: int = 4
    heads: int = 6
    inner: int = 512
    threads: int = 2


def token_id(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    """Look up a special token, of which there is exactly one each."""
    return int(cast(Any, tokenizer).convert_tokens_to_ids(token))


def build_model(settings: TrainSettings, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Make a standard Llama that every engine can load, only very small."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden,
        intermediate_size=settings.inner,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=token_id(tokenizer, END),
        pad_token_id=token_id(tokenizer, PAD),
        dtype=torch.float32,
    )
    return LlamaForCausalLM(config)


def loss_of(model: LlamaForCausalLM, batch: Batch) -> tuple[torch.Tensor, float]:
    """Return the weighted loss to train on, and the plain loss of the answers to look at."""
    logits = model(input_ids=batch.ids[:, :-1]).logits
    targets = batch.ids[:, 1:]
    weights = batch.weights[:, 1:]
    keep = weights > 0
    losses = functional.cross_entropy(logits[keep].float(), targets[keep], reduction="none")
    kept = weights[keep]
    answers = kept == 1.0
    return (losses * kept).sum() / kept.sum(), float(losses.detach()[answers].mean())


def make_optimizers(model: LlamaForCausalLM, settings: TrainSettings) -> list[torch.optim.Optimizer]:
    """Give matrices to Muon and the rest to AdamW."""
    named = list(model.named_parameters())
    matrices = [p for n, p in named if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in named if p.ndim != 2 or "embed" in n]
    return [
        torch.optim.Muon(matrices, lr=settings.muon_rate, weight_decay=0.01, momentum=0.95),
        torch.optim.AdamW(others, lr=settings.adam_rate, betas=(0.9, 0.98), weight_decay=0.01),
    ]


def rate_at(step: int, settings: TrainSettings) -> float:
    """Warm up, hold, then fall to zero over the last ``decay`` share of the steps."""
    left = (settings.steps - step) / max(1.0, settings.decay * settings.steps)
    return min(1.0, (step + 1) / settings.warmup, left)


def _stream(settings: TrainSettings, tokenizer: PreTrainedTokenizerFast) -> Iterator[Batch]:
    """Read the corpus in chunks, each sorted by length, so that memory stays small."""
    source = dialogues(settings.steps * settings.batch, settings.seed)
    rng = random.Random(settings.seed)
    pad = token_id(tokenizer, PAD)
    while chunk := list(islice(source, 50 * settings.batch)):
        yield from batches(encode(chunk, tokenizer, settings.context_weight), settings.batch, pad, rng)


def train(settings: TrainSettings, out: Path) -> None:
    """Train tokenizer and model, printing progress, and write both where engines expect them."""
    cast(Any, torch).manual_seed(settings.seed)
    torch.set_num_threads(settings.threads)
    tokenizer = train_tokenizer(texts(8000, settings.seed + 1))
    model = build_model(settings, tokenizer)
    optimizers = make_optimizers(model, settings)
    base_rates = [o.param_groups[0]["lr"] for o in optimizers]
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer)} tokens", flush=True)
    started, seen, running = time.monotonic(), 0, math.nan
    for step, batch in enumerate(_stream(settings, tokenizer)):
        for optimizer, rate in zip(optimizers, base_rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * rate_at(step, settings)
        loss, shown = loss_of(model, batch)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        seen += batch.ids.numel()
        running = shown if math.isnan(running) else 0.95 * running + 0.05 * shown
        if step % 50 == 49:
            spent = time.monotonic() - started
            left = spent / (step + 1) * (settings.steps - step - 1)
            print(
                f"step {step + 1}/{settings.steps}  answer loss {running:.3f}  "
                f"{seen / spent:,.0f} tokens/s  {left / 60:.1f} min left",
                flush=True,
            )
    save(model, tokenizer, out)


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write exact float32 weights and a generation config that injects no sampling settings."""
    out.mkdir(parents=True, exist_ok=True)
    model.generation_config = GenerationConfig(
        eos_token_id=token_id(tokenizer, END), pad_token_id=token_id(tokenizer, PAD)
    )
    for part in (cast(Any, model), cast(Any, tokenizer)):
        part.save_pretrained(out)
    size = sum(f.stat().st_size for f in out.iterdir())
    print(f"wrote {out} ({size / 1e6:.1f} MB)", flush=True)


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=TrainSettings.seed)
    parser.add_argument("--steps", type=int, default=TrainSettings.steps)
    parser.add_argument("--batch", type=int, default=TrainSettings.batch)
    parser.add_argument("--muon-rate", type=float, default=TrainSettings.muon_rate)
    parser.add_argument("--adam-rate", type=float, default=TrainSettings.adam_rate)
    given = parser.parse_args()
    settings = TrainSettings(
        seed=given.seed,
        steps=given.steps,
        batch=given.batch,
        muon_rate=given.muon_rate,
        adam_rate=given.adam_rate,
    )
    train(settings, given.out)


if __name__ == "__main__":
    main()
