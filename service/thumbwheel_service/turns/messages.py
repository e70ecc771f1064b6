"""What a conversation brought in from outside must look like before it is stored and learned from."""

from collections.abc import Sequence
from typing import Any, cast

from thumbwheel.types import Message
from thumbwheel_service.errors import BadInput

ROLES = ("system", "developer", "user", "assistant", "tool", "function")


_DEEPEST = 32


class BadMessage(BadInput):
    """A message without a known role or readable content."""

    code = "invalid_message"


def check_messages(messages: Sequence[Message], field: str = "messages") -> None:
    """Raise `BadMessage` naming the first message that is not one in OpenAI's sense, or is nested beyond sense."""
    for i, message in enumerate(messages):
        where = f"{field}[{i}]"
        if _is_deeper(message, _DEEPEST):
            raise BadMessage(f"a message is nested at most {_DEEPEST} levels deep", field=where)
        if message.get("role") not in ROLES:
            raise BadMessage(f"a message's role is one of {', '.join(ROLES)}", field=f"{where}.role")
        content = message.get("content")
        if isinstance(content, str) or (content is None and message["role"] == "assistant"):
            continue
        if not isinstance(content, list) or not content:
            raise BadMessage("a message's content is a string or a list of parts", field=f"{where}.content")
        for j, part in enumerate(cast(list[Any], content)):
            if not isinstance(part, dict) or not isinstance(cast(dict[str, Any], part).get("type"), str):
                raise BadMessage("a part is an object with a type", field=f"{where}.content[{j}]")


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects are nested more than `levels` deep, looked at level by level."""
    layer: list[Any] = [value]
    for _ in range(levels + 1):
        layer = [child for node in layer for child in _children(node)]
        if not layer:
            return False
    return True


def _children(node: Any) -> list[Any]:
    if isinstance(node, dict):
        return list(cast(dict[str, Any], node).values())
    return cast(list[Any], node) if isinstance(node, list) else []
