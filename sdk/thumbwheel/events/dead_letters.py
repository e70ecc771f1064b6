"""Records that could not be used, and what became of them."""

from typing import Literal

from msgspec import Struct


class DeadLettered(Struct, frozen=True, kw_only=True, tag="dead_lettered", tag_field="type"):
    """A record that cannot be used, as it came (topic dead-letters, key `<topic>/<partition>/<offset>`).

    `key` and `value` are bytes (base64 in JSON). What is too large to travel once more is cut, and `whole` is false:
    `size` and `sha256` are those of the uncut value, which the store of the one who reported it keeps.
    """

    topic: str
    partition: int
    offset: int
    reason: str
    key: bytes
    value: bytes
    whole: bool = True
    size: int
    sha256: str
    created_ms: int
    reported_by: str = "learner"
    schema_version: int = 1


class DeadLetterSettled(Struct, frozen=True, kw_only=True, tag="dead_letter_settled", tag_field="type"):
    """An operator is done with a dead letter (topic dead-letters, key `settled/<topic>/<partition>/<offset>`).

    Under a key of its own: who reads the source anew reports its letters anew, and that must not open them again.
    """

    topic: str
    partition: int
    offset: int
    outcome: Literal["replayed", "dismissed"]
    created_ms: int
    schema_version: int = 1


def letter_id(letter: DeadLettered | DeadLetterSettled) -> str:
    """What a dead letter is called: where it lay."""
    return f"{letter.topic}/{letter.partition}/{letter.offset}"
