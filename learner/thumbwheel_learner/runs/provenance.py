"""What a version's manifest says of its origin: everything a run found out, and nobody's name."""

from collections.abc import Mapping
from typing import Any

from thumbwheel_learner.runs.publish import Provenance
from thumbwheel_learner.runs.stage import StageInput


def provenance(given: StageInput, base: str) -> Provenance:
    """Everything a version's manifest says of its origin."""
    verdict = unnamed(given.results.get("gate", {}))
    trained = {stage: dict(given.results[stage]) for stage in ("sft", "ppo") if stage in given.results}
    return Provenance(
        parent=given.parent.version,
        base_model=base,
        snapshot=dict(given.snapshot_facts),
        reward_model=unnamed(given.results.get("reward", {"id": given.results.get("ppo", {}).get("reward_model")})),
        metrics={"kl_to_base": verdict.get("kl_base"), "kl_to_parent": verdict.get("kl"), **trained},
        verdict=verdict,
    )


def unnamed(result: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's result without the voters it names: a manifest travels further than a run's detail."""
    return {name: value for name, value in result.items() if name != "voters"}


def reasons(given: StageInput) -> list[str]:
    """What the gate said."""
    return list(given.results.get("gate", {}).get("reasons", []))
