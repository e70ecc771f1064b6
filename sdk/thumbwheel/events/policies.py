"""What became of a policy version."""

from typing import Literal

from msgspec import Struct


class PolicyPublished(Struct, frozen=True, kw_only=True, tag="policy_published", tag_field="type"):
    """The learner offers a version (topic policies, key `published/<version>`)."""

    version: str
    artifact: str
    """Folder of the artifact, relative to the artifact store."""
    manifest_sha256: str
    created_ms: int
    promote: Literal["auto", "manual"] = "auto"
    """manual: load and list it, but move the route only when a person says yes."""
    schema_version: int = 1


class PolicyRouted(Struct, frozen=True, kw_only=True, tag="policy_routed", tag_field="type"):
    """The service moved the live route (topic policies, key `route`)."""

    version: str
    previous: str
    epoch: int
    reason: str
    seconds: float
    """From the event that asked for it to the moved route."""
    created_ms: int
    schema_version: int = 1


class PolicyRejected(Struct, frozen=True, kw_only=True, tag="policy_rejected", tag_field="type"):
    """The service would not load a published version (topic policies, key `rejected/<version>`)."""

    version: str
    reason: str
    created_ms: int
    schema_version: int = 1
