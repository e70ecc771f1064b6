"""The plain chat template for models that bring none: service and learner must turn messages into the same tokens."""

import json
from pathlib import Path

PLAIN_CHAT_TEMPLATE = (
    "{{ bos_token if bos_token else '' }}"
    "{% for message in messages %}"
    "{% if message.content is string %}{% set text = message.content %}"
    "{% elif message.content %}{% set text = message.content | map(attribute='text') | join('\\n') %}"
    "{% else %}{% set text = '' %}{% endif %}"
    "{{ message.role | capitalize }}: {{ text }}"
    "{{ (eos_token if eos_token else '') if message.role == 'assistant' else '' }}\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
"""One line per message, `Role: text`; the end token closes every answer: who trains on answers learns to stop."""


def has_chat_template(model: Path) -> bool:
    """Whether the checkpoint in this folder brings a chat template of its own."""
    if (model / "chat_template.jinja").is_file() or (model / "chat_template.json").is_file():
        return True
    if any((model / "additional_chat_templates").glob("*.jinja")):
        return True
    config = model / "tokenizer_config.json"
    return config.is_file() and bool(json.loads(config.read_text()).get("chat_template"))
