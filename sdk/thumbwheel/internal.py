"""Wire types of the service's internal routes, which the learner alone uses (always behind the admin key).

    POST   /internal/log                                   append records           LogAppend -> LogAppended
    POST   /internal/log/read                              long poll                LogRead -> LogPages
    GET    /internal/log/{topic}                           its partitions           -> LogSpans
    GET    /internal/log/{topic}/{partition}?offset&limit&wait_ms                   -> LogPage (the same, for one)
    POST   /internal/candidates                            load a hidden adapter    CandidateIn -> CandidateLoaded
    DELETE /internal/candidates/{name}                     unload it
    POST   /internal/rollouts                              sample at low priority   RolloutRequest -> RolloutResult
    GET    /internal/route                                                          -> PolicyList
    POST   /internal/keys                                  keys of sealed events    KeysWanted -> Keys

All bodies are MessagePack (`application/msgpack`): token ids and log-probabilities are many and exact.
"""

from typing import Annotated

from msgspec import Meta, Struct

MSGPACK = "application/msgpack"


class LogEntry(Struct, frozen=True, array_like=True):
    """One record to append."""

    topic: str
    key: str
    event_id: str
    value: bytes


class LogAppend(Struct, frozen=True):
    """Records to append in one transaction; an event id that is already there is skipped."""

    records: Annotated[list[LogEntry], Meta(min_length=1, max_length=1024)]


class LogAppended(Struct, frozen=True):
    """How many were new."""

    appended: int


class LogRow(Struct, frozen=True, array_like=True):
    """One record as read."""

    offset: int
    key: str
    value: bytes


class LogPage(Struct, frozen=True):
    """Records from `offset` on, and where the partition begins and ends now."""

    rows: list[LogRow]
    first: int
    """The lowest offset still there (reading below it is `OffsetOutOfRange`, HTTP 410)."""
    next: int
    """The offset the next appended record will get."""


class LogPosition(Struct, frozen=True, array_like=True):
    """Where a reader stands in one partition."""

    topic: str
    partition: int
    offset: int


class LogRead(Struct, frozen=True):
    """Read several partitions at once; answered as soon as any has a record, else empty after `wait_ms`.

    HTTP 410 when a position is below `first` or above `next` of its partition: the detail names it.
    """

    positions: Annotated[list[LogPosition], Meta(min_length=1, max_length=64)]
    limit: Annotated[int, Meta(ge=1, le=4096)] = 500
    """Per partition; a page may hold fewer so that the answer stays below some 8 MiB, never none of those there."""
    wait_ms: Annotated[int, Meta(ge=0, le=30_000)] = 0


class LogPages(Struct, frozen=True):
    """One page per position, in the order asked."""

    pages: list[LogPage]


class LogSpan(Struct, frozen=True, array_like=True):
    """Where a partition begins and ends now: the lowest offset still there, and that of the next record."""

    first: int
    next: int


class LogSpans(Struct, frozen=True):
    """One per partition of a topic, in order."""

    partitions: list[LogSpan]


class CandidateIn(Struct, frozen=True):
    """A signed artifact folder (relative to the store, below `candidates/`) to load under a hidden name."""

    artifact: str


class CandidateLoaded(Struct, frozen=True):
    """The hidden name to sample from."""

    name: str
    seconds: float


class RolloutRequest(Struct, frozen=True, kw_only=True):
    """Sample `n` completions per prompt from a hidden candidate, a loaded version, or `base`.

    The service forces top_p=1, top_k=0, min_p=0 and no penalties: the log-probabilities are the tempered policy's own.
    """

    policy: str
    prompts: Annotated[list[list[int]], Meta(min_length=1, max_length=1024)]
    """Token ids, chat template already applied."""
    max_tokens: Annotated[int, Meta(ge=1, le=4096)]
    n: Annotated[int, Meta(ge=1, le=64)] = 1
    temperature: Annotated[float, Meta(gt=0, le=2)] = 1.0
    seed: int | None = None
    """Prompt i's choices are drawn with seed + i, so that a batch can be repeated."""


class Sampled(Struct, frozen=True, array_like=True):
    """One sampled completion."""

    token_ids: list[int]
    """With the stop token when one was sampled."""
    logprobs: list[float]
    finish_reason: str
    """`stop` or `length`."""
    text: str
    """Without special tokens."""


class RolloutResult(Struct, frozen=True):
    """`completions[i][j]` is sample j of prompt i."""

    completions: list[list[Sampled]]
    policy: str
    seconds: float


class KeysWanted(Struct, frozen=True):
    """Ids of keys that boxes name."""

    ids: Annotated[list[Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]], Meta(min_length=1, max_length=10_000)]


class Keys(Struct, frozen=True):
    """Those that there are, to be kept in memory only; the others were destroyed."""

    keys: dict[str, bytes]
