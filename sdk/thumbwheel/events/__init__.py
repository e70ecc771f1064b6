"""Bus envelope, topics and every event: the contract between service, learner and outside tools.

Every event has a literal `type` and a `schema_version`. Fields are only ever added, with defaults; what would break a
reader raises `schema_version`. `tests/contract/golden/` keeps one JSON per event version, and an old golden must
always parse.
"""

from thumbwheel.events.dead_letters import DeadLettered, DeadLetterSettled, letter_id
from thumbwheel.events.envelope import Envelope, Event, decode, encode, to_builtins, topic_and_key, wrap
from thumbwheel.events.erasures import ErasureApplied, PersonErased
from thumbwheel.events.feedback import FeedbackRecorded, FeedbackSealed, ReviewMark
from thumbwheel.events.identity import new_id, now_ms, time_ordered
from thumbwheel.events.learner import LearnerCommand, LearnerReported
from thumbwheel.events.policies import PolicyPublished, PolicyRejected, PolicyRouted
from thumbwheel.events.reviews import ReviewAsked, ReviewWithdrawn
from thumbwheel.events.topics import (
    CONTROL,
    DEAD_LETTERS,
    DEFAULT_TENANT,
    ERASURES,
    FEEDBACK,
    LEARNER,
    POLICIES,
    REVIEWS,
    TOPICS,
    TURNS,
    Topic,
)
from thumbwheel.events.turns import TurnCompleted, TurnSealed

__all__ = [
    "CONTROL",
    "DEAD_LETTERS",
    "DEFAULT_TENANT",
    "ERASURES",
    "FEEDBACK",
    "LEARNER",
    "POLICIES",
    "REVIEWS",
    "TOPICS",
    "TURNS",
    "DeadLetterSettled",
    "DeadLettered",
    "Envelope",
    "ErasureApplied",
    "Event",
    "FeedbackRecorded",
    "FeedbackSealed",
    "LearnerCommand",
    "LearnerReported",
    "PersonErased",
    "PolicyPublished",
    "PolicyRejected",
    "PolicyRouted",
    "ReviewAsked",
    "ReviewMark",
    "ReviewWithdrawn",
    "Topic",
    "TurnCompleted",
    "TurnSealed",
    "decode",
    "encode",
    "letter_id",
    "new_id",
    "now_ms",
    "time_ordered",
    "to_builtins",
    "topic_and_key",
    "wrap",
]
