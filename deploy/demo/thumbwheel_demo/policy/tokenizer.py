"""A byte-level tokenizer of the corpus: any text encodes, and numbers are spelled digit by digit."""

from collections.abc import Iterable
from typing import Any, cast

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from thumbwheel_demo.policy.template import CHAT_TEMPLATE, END, PAD, SPECIAL_TOKENS

VOCABULARY = 2048
MAX_LENGTH = 1024


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Learn the merges; digits stay single, so that a new order number looks like any other."""
    tokenizer = Tokenizer(models.BPE())
    split_digits: Any = pre_tokenizers.Digits(individual_digits=True)
    to_bytes: Any = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.pre_tokenizer = cast(Any, pre_tokenizers.Sequence([split_digits, to_bytes]))
    tokenizer.decoder = cast(Any, decoders.ByteLevel())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[AddedToken(t, normalized=False, special=True) for t in SPECIAL_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[t for t in SPECIAL_TOKENS if t not in (PAD, END)],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=MAX_LENGTH,
        padding_side="left",
    )
