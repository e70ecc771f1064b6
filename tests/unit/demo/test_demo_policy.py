"""The shipped policy: it is there, it is small, and its tokenizer takes any text."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thumbwheel_demo.corpus import dialogues, prompts
from thumbwheel_demo.policy import weights_dir
from thumbwheel_demo.policy.batches import encode, parts, texts
from thumbwheel_demo.policy.template import CHAT_TEMPLATE
from thumbwheel_demo.policy.tokenizer import train_tokenizer

WEIGHTS = weights_dir()


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(WEIGHTS)


def test_the_shipped_weights_are_small_and_safe() -> None:
    files = {f.name: f.stat().st_size for f in WEIGHTS.iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= files.keys()
    assert sum(files.values()) <= 12 * 1024 * 1024
    config = json.loads((WEIGHTS / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["dtype"] == "float32"
    assert config["tie_word_embeddings"] is True


def test_the_generation_config_injects_no_sampling() -> None:
    generation = json.loads((WEIGHTS / "generation_config.json").read_text())
    assert not {"temperature", "top_k", "top_p", "min_p", "do_sample", "repetition_penalty"} & generation.keys()
    assert generation["eos_token_id"] != generation["pad_token_id"]


def test_end_and_padding_are_special_and_differ(tokenizer: Any) -> None:
    assert (tokenizer.eos_token, tokenizer.pad_token, tokenizer.bos_token) == ("<|end|>", "<|pad|>", None)
    assert tokenizer.chat_template == CHAT_TEMPLATE


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=60))
def test_any_unicode_survives_a_round_trip(tokenizer: Any, text: str) -> None:
    text = text.replace("<|", "< |")
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_numbers_are_spelled_digit_by_digit(tokenizer: Any) -> None:
    tokens = tokenizer.tokenize("order 48213 costs 34 euros")
    assert [t for t in tokens if any(c.isdigit() for c in t)] == list("4821334")


def test_templating_as_text_and_as_tokens_agree_and_add_nothing(tokenizer: Any) -> None:
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Where is order 48213?"},
        {"role": "assistant", "content": "On its way."},
        {"role": "user", "content": "Thanks"},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|system|>Be kind.<|end|><|user|>Where is order 48213?<|end|>"
        "<|assistant|>On its way.<|end|><|user|>Thanks<|end|><|assistant|>"
    )
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert ids == tokenizer(text)["input_ids"] == tokenizer(text, add_special_tokens=False)["input_ids"]


def test_tools_and_their_results_are_rendered(tokenizer: Any) -> None:
    tool = {"type": "function", "function": {"name": "find_order", "parameters": {"type": "object"}}}
    call = {"id": "1", "type": "function", "function": {"name": "find_order", "arguments": '{"id": 7}'}}
    messages = [
        {"role": "user", "content": "Where is it?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "shipped", "tool_call_id": "1"},
    ]
    text = tokenizer.apply_chat_template(messages, tools=[tool], tokenize=False, add_generation_prompt=True)
    assert text.startswith("<|system|>You may call")
    assert "find_order" in text.split("<|end|>")[0]
    assert '<|assistant|>{"name": "find_order", "arguments": {"id": 7}}<|end|>' in text
    assert text.endswith("<|system|>Result: shipped<|end|><|assistant|>")


def test_training_examples_are_tokenised_as_the_template_does(tokenizer: Any) -> None:
    chunk = list(dialogues(50, 9))
    for dialogue, example in zip(chunk, encode(chunk, tokenizer, 0.1), strict=True):
        messages = [{"role": role, "content": text} for role, text, _ in parts(dialogue)]
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        assert example.ids == tokenizer(text)["input_ids"]
        assert len(example.weights) == len(example.ids)
        answered = [i for i, w in zip(example.ids, example.weights, strict=True) if w == 1.0]
        assert tokenizer.decode(answered) == dialogue.answer + "<|end|>"


def test_prompts_and_good_answers_are_short(tokenizer: Any) -> None:
    lengths = [
        len(tokenizer.apply_chat_template(list(s.messages), add_generation_prompt=True, return_dict=True)["input_ids"])
        for s in prompts("heldout", 390, 0)
    ]
    assert max(lengths) <= 100
    kind = [len(tokenizer(d.answer)["input_ids"]) for d in dialogues(400, 1) if d.way == "kind"]
    assert sum(kind) / len(kind) < 40


def test_the_tokenizer_is_reproducible(tmp_path: Path) -> None:
    first, second = (train_tokenizer(texts(300, 4)).get_vocab() for _ in range(2))
    assert first == second


def test_the_shipped_policy_answers(tokenizer: Any) -> None:
    from thumbwheel_demo.policy.sample import Sampler

    scenarios = prompts("heldout", 8, 0)
    answers = Sampler(WEIGHTS).sample(scenarios, max_tokens=32)
    assert all(answers)
    assert sum(p.numel() for p in Sampler(WEIGHTS).model.parameters()) < 5_000_000
