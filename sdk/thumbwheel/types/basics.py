"""What several bodies are made of, and how long it may be."""

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta

Identifier = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:@+\-]*$(?!\n)")]
LABEL_LENGTH, TEXT_LENGTH, COMMENT_LENGTH = 128, 65_536, 16_384
"""In characters."""
METADATA_KEY_LENGTH, METADATA_VALUE_LENGTH = 64, 512
Label = Annotated[str, Meta(min_length=1, max_length=LABEL_LENGTH)]
Text = Annotated[str, Meta(min_length=1, max_length=TEXT_LENGTH)]
Comment = Annotated[str, Meta(max_length=COMMENT_LENGTH)]
Metadata = dict[
    Annotated[str, Meta(max_length=METADATA_KEY_LENGTH)], Annotated[str, Meta(max_length=METADATA_VALUE_LENGTH)]
]
Message = dict[str, Any]
Source = Literal["human", "llm", "code"]
Choice = Annotated[int, Meta(ge=0, le=127)]
Timestamp = Annotated[datetime, Meta(tz=True)]
"""A moment with its offset; RFC 3339 on the wire."""
