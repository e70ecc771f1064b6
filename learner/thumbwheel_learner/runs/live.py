"""Which policy is live, as the policy topic says, and where its adapter lies."""

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Engine

from thumbwheel.artifact import ArtifactError, read_verified
from thumbwheel.events import PolicyRejected, PolicyRouted
from thumbwheel_learner.runs.run import RunAbandoned
from thumbwheel_learner.runs.stage import Parent
from thumbwheel_learner.store.runs import policy_event

BASE_VERSION = "base"


def live_version(engine: Engine) -> str:
    """The version of the last route the service announced; the base before there is one."""
    envelope = policy_event(engine, "route")
    routed = envelope.event if envelope is not None else None
    return routed.version if isinstance(routed, PolicyRouted) else BASE_VERSION


def live_parent(engine: Engine, store: Path, key: bytes) -> Callable[[], Parent]:
    """A function that tells the live policy, its artifact verified; it raises `RunAbandoned` when that is damaged."""

    def live() -> Parent:
        version = live_version(engine)
        if version == BASE_VERSION:
            return Parent(version, None)
        try:
            folder, _ = read_verified(store, version, key)
        except ArtifactError as error:
            raise RunAbandoned(f"the live policy cannot be trained on: {error}") from error
        return Parent(version, folder)

    return live


def followed(engine: Engine, version: str) -> bool:
    """Whether the service has said what becomes of a published version: routed, rejected, or another went live."""
    rejected = policy_event(engine, f"rejected/{version}")
    if rejected is not None and isinstance(rejected.event, PolicyRejected):
        return True
    return live_version(engine) == version
