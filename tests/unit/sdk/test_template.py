"""The plain template turns OpenAI messages into lines, and closes answers so that training on them teaches to stop."""

import json
from pathlib import Path

import jinja2
import pytest

from thumbwheel.template import PLAIN_CHAT_TEMPLATE, has_chat_template

TALK = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    {"role": "assistant", "content": "Hi."},
    {"role": "user", "content": "Bye"},
]


def render(**variables: object) -> str:
    template = jinja2.Environment(autoescape=False).from_string(PLAIN_CHAT_TEMPLATE)
    return template.render(messages=TALK, **variables)


def test_messages_become_lines_and_answers_are_closed() -> None:
    assert render(bos_token="<s>", eos_token="</s>", add_generation_prompt=True) == (
        "<s>System: Be kind.\nUser: a\nb\nAssistant: Hi.</s>\nUser: Bye\nAssistant:"
    )


def test_a_tokenizer_without_special_tokens_will_do() -> None:
    assert render(add_generation_prompt=False).endswith("Assistant: Hi.\nUser: Bye\n")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("chat_template.jinja", "x", True),
        ("chat_template.json", "{}", True),
        ("tokenizer_config.json", json.dumps({"chat_template": "x"}), True),
        ("tokenizer_config.json", json.dumps({"eos_token": "x"}), False),
        ("config.json", "{}", False),
    ],
)
def test_whether_a_checkpoint_brings_its_own(tmp_path: Path, name: str, text: str, expected: bool) -> None:
    (tmp_path / name).write_text(text)
    assert has_chat_template(tmp_path) is expected
