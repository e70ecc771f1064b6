"""Where a chat answer says which policy gave it."""

from msgspec import Struct

COMPLETION_HEADER = "x-thumbwheel-completion-id"
VERSION_HEADER = "x-thumbwheel-policy-version"
CONVERSATION_HEADER = "x-thumbwheel-conversation-id"
BODY_KEY = "thumbwheel"
"""The one namespaced key under which chat bodies and first stream chunks carry our own fields."""


class ChatStamp(Struct, frozen=True, kw_only=True):
    """Which policy answered, and under which identity feedback finds the answer (body key `thumbwheel`)."""

    completion_id: str
    policy_version: str
    conversation_id: str
