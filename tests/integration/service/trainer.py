"""The trainer's view of a policy: log-probabilities by transformers and PEFT in float32, without the engine."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any


@lru_cache(maxsize=8)
def _policy(model: Path, adapter: Path | None) -> Any:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    return (base if adapter is None else PeftModel.from_pretrained(base, adapter)).eval()


def logprobs(
    model: Path, adapter: Path | None, prompt: Sequence[int], tokens: Sequence[int], temperature: float = 1.0
) -> list[float]:
    """Nats of each of `tokens` after `prompt`, under the tempered policy."""
    import torch

    ids = torch.tensor([[*prompt, *tokens]])
    with torch.no_grad():
        logits = _policy(model, adapter)(input_ids=ids).logits[0, len(prompt) - 1 : -1] / temperature
    return torch.log_softmax(logits, -1).gather(1, torch.tensor(tokens)[:, None]).squeeze(1).tolist()
