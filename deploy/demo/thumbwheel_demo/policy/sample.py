"""A plain sampler for measurements, so that they need no engine."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from thumbwheel_demo.corpus.model import Scenario


class Sampler:
    """Samples answers at temperature 1 in batches, padded on the left."""

    def __init__(self, model_path: Path, *, adapter: Path | None = None) -> None:
        self.tokenizer = cast(Any, AutoTokenizer).from_pretrained(model_path)
        self.model: PreTrainedModel = cast(Any, AutoModelForCausalLM).from_pretrained(model_path, dtype=torch.float32)
        if adapter is not None:
            from peft import PeftModel

            self.model = cast(Any, PeftModel).from_pretrained(self.model, adapter).merge_and_unload()
        self.model.eval()

    def prompt_ids(self, scenario: Scenario) -> list[int]:
        """Tokenise a scenario through the chat template, ready for the answer."""
        text = self.tokenizer.apply_chat_template(list(scenario.messages), tokenize=False, add_generation_prompt=True)
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def sample(
        self, scenarios: Sequence[Scenario], *, max_tokens: int = 96, batch: int = 64, seed: int = 0
    ) -> list[str]:
        """Answer every scenario once; an answer cut off at the limit comes back as it is."""
        cast(Any, torch).manual_seed(seed)
        prompts = [self.prompt_ids(s) for s in scenarios]
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        answers = [""] * len(prompts)
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            for row, text in zip(rows, self._batch([prompts[r] for r in rows], max_tokens), strict=True):
                answers[row] = text
        return answers

    def _batch(self, prompts: list[list[int]], max_tokens: int) -> list[str]:
        longest = max(len(p) for p in prompts)
        pad = int(self.tokenizer.pad_token_id)
        ids = torch.tensor([[pad] * (longest - len(p)) + p for p in prompts])
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
        with torch.inference_mode():
            out = cast(Any, self.model).generate(
                input_ids=ids,
                attention_mask=mask,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                max_new_tokens=max_tokens,
            )
        return self.tokenizer.batch_decode(out[:, longest:], skip_special_tokens=True)
