"""Who is to be forgotten, and that the learner has done so."""

from msgspec import Struct

from thumbwheel.types import AffectedVersion


class PersonErased(Struct, frozen=True, kw_only=True, tag="person_erased", tag_field="type"):
    """Something is to be forgotten (topic erasures, key erasure id): who holds anything under these keys drops it.

    The keys are destroyed; what is left of their boxes anywhere cannot be read.
    """

    erasure_id: str
    keys: list[str]
    created_ms: int
    by_age: bool = False
    """It was too old to be kept, and nobody asked for it: people may have newer keys."""
    schema_version: int = 1


class ErasureApplied(Struct, frozen=True, kw_only=True, tag="erasure_applied", tag_field="type"):
    """The learner has forgotten too, and says what had been made of it (topic erasures, key `applied/<erasure id>`)."""

    erasure_id: str
    turns: int
    feedback: int
    versions: list[AffectedVersion]
    created_ms: int
    schema_version: int = 1
