"""Train the demo policy from nothing: ``python -m thumbwheel_demo.policy.train --out DIR``."""

import argparse
import math
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

import torch
from torch.nn import functional
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from thumbwheel_demo.corpus.prompts import dialogues
from thumbwheel_demo.policy.batches import DRILL_WEIGHT, Batch, batches, drills, encode, texts
from thumbwheel_demo.policy.template import END, PAD
from thumbwheel_demo.policy.tokenizer import MAX_LENGTH, train_tokenizer


@dataclass(frozen=True)
class TrainSettings:
    """What a run depends on; the same values and the same machine give the same weights.

    The run starts with ``drill_steps`` of nothing but drills in copying: a small policy learns to copy from them
    within two hundred steps, and hardly at all from customers alone, whose numbers are few among many words.
    Then ``steps`` x ``batch`` examples are read once each, a share ``drills`` of them drills. Only the answers
    count. Steps run in bfloat16 autocast but for the last ``exact`` share, which is float32 like everything that
    will sample from these weights. Matrices are trained with Muon, the rest with AdamW. One thread is no
    slower than two at these sizes when anything else runs on the machine.
    """

    seed: int = 0
    steps: int = 2400
    drill_steps: int = 240
    batch: int = 32
    drills: float = 0.08
    muon_rate: float = 0.02
    adam_rate: float = 0.004
    warmup: int = 30
    decay: float = 0.6
    exact: float = 0.1
    hidden: int = 192
    layers: int = 4
    heads: int = 6
    inner: int = 512
    threads: int = 1


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


def loss_of(model: LlamaForCausalLM, batch: Batch, *, exact: bool) -> tuple[torch.Tensor, list[float]]:
    """Return the weighted loss to train on, and the plain losses of answers and drills to look at."""
    weights = batch.weights[:, 1:]
    keep = weights > 0
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=not exact):
        states = model.model(input_ids=batch.ids[:, :-1], use_cache=False).last_hidden_state
        logits = cast(torch.Tensor, model.lm_head(states[keep]))
    losses = functional.cross_entropy(logits.float(), batch.ids[:, 1:][keep], reduction="none")
    kept = weights[keep]
    shown = [float(losses.detach()[kept == weight].mean()) for weight in (1.0, DRILL_WEIGHT)]
    return (losses * kept).sum() / kept.sum(), shown


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
    """Warm up, hold, then fall to zero over the last ``decay`` share of the text steps."""
    left = (settings.drill_steps + settings.steps - step) / max(1.0, settings.decay * settings.steps)
    return min(1.0, (step + 1) / settings.warmup, left)


def _stream(settings: TrainSettings, tokenizer: PreTrainedTokenizerFast) -> Iterator[Batch]:
    """Drill first, then read the corpus in chunks, each sorted by length, so that memory stays small."""
    rng = random.Random(settings.seed)
    pad, vocabulary = token_id(tokenizer, PAD), len(tokenizer)
    for _ in range(settings.drill_steps):
        yield from batches(drills(2 * settings.batch, vocabulary, tokenizer, rng), 2 * settings.batch, pad, rng)
    total, chunk = settings.steps * settings.batch, 50 * settings.batch
    source = dialogues(total, settings.seed)
    for done in range(0, total, chunk):
        count = min(chunk, total - done)
        echoes = drills(round(settings.drills * count), vocabulary, tokenizer, rng)
        said = encode(list(islice(source, count - len(echoes))), tokenizer)
        yield from batches([*said, *echoes], settings.batch, pad, rng)


class Progress:
    """Tells how a run is doing: smoothed losses, speed, and when it will be done."""

    def __init__(self, total: int) -> None:
        self.total, self.started, self.seen = total, time.monotonic(), 0
        self.running = [math.nan, math.nan]

    def note(self, step: int, tokens: int, shown: list[float]) -> None:
        """Take in one step and print every fiftieth; a batch without drills leaves their figure alone."""
        self.seen += tokens
        self.running = [
            old if math.isnan(new) else new if math.isnan(old) else 0.95 * old + 0.05 * new
            for old, new in zip(self.running, shown, strict=True)
        ]
        if (step + 1) % 50:
            return
        spent = time.monotonic() - self.started
        left = spent / (step + 1) * (self.total - step - 1) / 60
        answers, echoes = self.running
        print(
            f"step {step + 1}/{self.total}  answers {answers:.3f}  drills {echoes:.3f}  "
            f"{self.seen / spent:,.0f} tokens/s  {left:.1f} min left",
            flush=True,
        )


def train(settings: TrainSettings, out: Path) -> None:
    """Train tokenizer and model, printing progress, and write both where engines expect them."""
    cast(Any, torch).manual_seed(settings.seed)
    torch.set_num_threads(settings.threads)
    tokenizer = train_tokenizer(texts(8000, settings.seed + 1))
    model = build_model(settings, tokenizer)
    optimizers = make_optimizers(model, settings)
    base_rates = [o.param_groups[0]["lr"] for o in optimizers]
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer)} tokens", flush=True)
    total = settings.drill_steps + settings.steps
    progress = Progress(total)
    for step, batch in enumerate(_stream(settings, tokenizer)):
        for optimizer, rate in zip(optimizers, base_rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * rate_at(step, settings)
        loss, shown = loss_of(model, batch, exact=step > total - settings.exact * settings.steps)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        progress.note(step, batch.ids.numel(), shown)
        if step % 600 == 599:
            save(model, tokenizer, out)
    save(model, tokenizer, out)


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write exact float32 weights and a generation config that injects no sampling settings."""
    out.mkdir(parents=True, exist_ok=True)
    model.generation_config = GenerationConfig(
        eos_token_id=token_id(tokenizer, END), pad_token_id=token_id(tokenizer, PAD)
    )
    for part in (cast(Any, model), cast(Any, tokenizer)):
        part.save_pretrained(out)
    files = [f for f in out.iterdir() if f.is_file()]
    for file in files:
        file.chmod(0o644)
    print(f"wrote {out} ({sum(f.stat().st_size for f in files) / 1e6:.1f} MB)", flush=True)


def main() -> None:
    """Parse the command line, where every setting is an option, and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    for name, default in asdict(TrainSettings()).items():
        parser.add_argument("--" + name.replace("_", "-"), type=type(cast(float, default)), default=default)
    given = vars(parser.parse_args())
    train(TrainSettings(**{k: v for k, v in given.items() if k != "out"}), given["out"])


if __name__ == "__main__":
    main()
