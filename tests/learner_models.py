"""Tiny random causal models of several architectures with a word-level tokenizer, and examples in their language."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from thumbwheel_learner.dataset.examples import Demo, Judged, LoggedPrompt, Pair, Snapshot

WORDS = "yes no please sorry thanks rude order late refund where is my the now good bad".split()
SPECIAL = ["<pad>", "<unk>", "<user>", "<assistant>", "<end>"]
TEMPLATE = (
    "{% for m in messages %}{{ '<' + m.role + '> ' + m.content + ' <end> ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant> ' }}{% endif %}"
)
ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma2", "gemma3", "gpt2")


@contextmanager
def one_thread_inside_operations() -> Iterator[None]:
    """As the learner sets it; several may add up in another order than one, and leave no core to other tests."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def make_base(
    folder: Path, *, architecture: str = "llama", words: Sequence[str] = WORDS, hidden: int = 32, scale: float = 4.0
) -> Path:
    """Write a random float32 checkpoint with tokenizer and template; `scale` sharpens its distributions."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = [*SPECIAL, *words]
    _save_tokenizer(folder, vocabulary)
    torch.manual_seed(0)
    model = _build(architecture, len(vocabulary), hidden)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "embed" not in name and "wte" not in name:
                parameter.mul_(scale)
    model.generation_config.eos_token_id = 4
    model.save_pretrained(folder)
    return folder


def make_encoder(folder: Path, *, words: Sequence[str] = WORDS, hidden: int = 32) -> Path:
    """A random BERT that reads the same words, in tokens of its own numbering."""
    import torch
    import transformers as t

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = [*SPECIAL, *reversed(words)]
    _save_tokenizer(folder, vocabulary)
    torch.manual_seed(1)
    config = t.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    t.BertModel(config).save_pretrained(folder)
    return folder


def _build(architecture: str, vocabulary: int, hidden: int) -> Any:
    import transformers as t

    if architecture == "gpt2":
        return t.GPT2LMHeadModel(
            t.GPT2Config(
                vocab_size=vocabulary,
                n_embd=hidden,
                n_layer=2,
                n_head=2,
                n_positions=128,
                bos_token_id=None,
                eos_token_id=4,
                initializer_range=0.1,
            )
        )
    common: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": hidden // 2,
        "max_position_embeddings": 128,
        "bos_token_id": None,
        "eos_token_id": 4,
        "pad_token_id": 0,
        "initializer_range": 0.1,
    }
    if architecture == "llama":
        return t.LlamaForCausalLM(t.LlamaConfig(**common, tie_word_embeddings=True))
    if architecture == "qwen2":
        return t.Qwen2ForCausalLM(t.Qwen2Config(**common, tie_word_embeddings=True))
    if architecture == "qwen3":
        return t.Qwen3ForCausalLM(t.Qwen3Config(**common, tie_word_embeddings=True))
    if architecture == "gemma2":
        return t.Gemma2ForCausalLM(t.Gemma2Config(**common, final_logit_softcapping=5.0, query_pre_attn_scalar=16))
    kinds = ["sliding_attention", "full_attention"]
    return t.Gemma3ForCausalLM(t.Gemma3TextConfig(**common, query_pre_attn_scalar=16, layer_types=kinds))


def _save_tokenizer(folder: Path, vocabulary: Sequence[str]) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(vocabulary)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<end>",
        extra_special_tokens=["<user>", "<assistant>"],
    )
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)


def said(text: str) -> list[dict[str, Any]]:
    """A conversation of one user message."""
    return [{"role": "user", "content": text}]


def thumb(n: int, text: str, answer: str, *, up: bool, user: str | None = None) -> Judged:
    """The n-th thumb, in a conversation of its own."""
    return Judged(
        messages=said(text),
        answer=answer,
        kind="thumb",
        value=float(up),
        user=user or f"user-{n}",
        conversation_id=f"conversation-{n}",
        created_ms=n,
        event_id=f"event-{n}",
    )


def pair(n: int, text: str, chosen: str, rejected: str, *, tie: bool = False) -> Pair:
    """The n-th comparison, in a conversation of its own."""
    return Pair(
        messages=said(text),
        chosen=chosen,
        rejected=rejected,
        origin="comparison",
        user=f"user-{n}",
        conversation_id=f"conversation-{n}",
        created_ms=n,
        event_id=f"event-{n}",
        tie=tie,
    )


def demo(n: int, text: str, answer: str) -> Demo:
    """The n-th correction."""
    return Demo(
        messages=said(text),
        text=answer,
        origin="correction",
        user=f"agent-{n % 2}",
        conversation_id=f"conversation-{n}",
        created_ms=n,
        event_id=f"event-{n}",
    )


def logged(n: int, text: str) -> LoggedPrompt:
    """The n-th prompt without a label."""
    return LoggedPrompt(
        messages=said(text),
        conversation_id=f"conversation-{n}",
        completion_id=f"completion-{n}",
        created_ms=n,
        answer="yes",
        policy_version="base",
        event_id=f"event-{n}",
    )


def snapshot(
    *,
    judged: Sequence[Judged] = (),
    pairs: Sequence[Pair] = (),
    demos: Sequence[Demo] = (),
    prompts: Sequence[LoggedPrompt] = (),
) -> Snapshot:
    """A snapshot of these examples."""
    return Snapshot(
        hash="0" * 64,
        created_ms=0,
        pairs=list(pairs),
        judged=list(judged),
        demos=list(demos),
        prompts=list(prompts),
        counts={},
    )
