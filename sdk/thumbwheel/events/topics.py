"""The topics, and what both buses must agree on."""

from msgspec import Struct

DEFAULT_TENANT = "default"


class Topic(Struct, frozen=True, kw_only=True):
    """A topic with what both buses must agree on."""

    name: str
    partitions: int
    compacted: bool


TURNS = Topic(name="thumbwheel.turns", partitions=4, compacted=False)
FEEDBACK = Topic(name="thumbwheel.feedback", partitions=4, compacted=False)
POLICIES = Topic(name="thumbwheel.policies", partitions=1, compacted=True)
CONTROL = Topic(name="thumbwheel.control", partitions=1, compacted=False)
LEARNER = Topic(name="thumbwheel.learner", partitions=1, compacted=True)
DEAD_LETTERS = Topic(name="thumbwheel.dead-letters", partitions=1, compacted=True)
ERASURES = Topic(name="thumbwheel.erasures", partitions=1, compacted=False)
REVIEWS = Topic(name="thumbwheel.reviews", partitions=1, compacted=True)
TOPICS: dict[str, Topic] = {
    t.name: t for t in (TURNS, FEEDBACK, POLICIES, CONTROL, LEARNER, DEAD_LETTERS, ERASURES, REVIEWS)
}
