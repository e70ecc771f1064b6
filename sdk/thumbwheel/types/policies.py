"""Policy versions and the way back to one."""

from typing import Any, Literal

from msgspec import Struct

PolicyState = Literal["published", "loaded", "live", "retired", "rejected", "candidate"]


class PolicyVersion(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A policy version with its lineage and figures, as `GET /v1/policies` lists it."""

    version: str
    state: PolicyState
    parent: str | None = None
    created_ms: int = 0
    reason: str | None = None
    metrics: dict[str, Any] = {}
    verdict: dict[str, Any] = {}
    lineage: dict[str, Any] = {}
    swap_seconds: float | None = None


class PolicyList(Struct, frozen=True, kw_only=True):
    """All versions, newest first, and the live route."""

    live: str
    epoch: int
    policies: list[PolicyVersion]


class RollbackIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which version to go back to; None: the one that was live before."""

    version: str | None = None
