"""Errors as the API tells them."""

from msgspec import Struct


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """RFC 9457 problem details; `field` is the JSON path of the offending value."""

    title: str
    status: int
    detail: str
    type: str = "about:blank"
    code: str | None = None
    field: str | None = None
    instance: str | None = None
