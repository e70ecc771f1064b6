"""Settings of the questions to people; read by `thumbwheel_learner.settings`, as all are."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from thumbwheel_learner.environment import number, one_of

Acquisition = Literal["random", "entropy", "bald", "variance", "double_thompson", "d_optimal"]
ACQUISITIONS: tuple[Acquisition, ...] = get_args(Acquisition)


@dataclass(frozen=True, kw_only=True)
class QuestionSettings:
    """What people are asked, and how much; off without a budget."""

    per_day: int = 0
    """`QUESTIONS_PER_DAY`: questions asked in any 24 hours, at most; 0: nobody is asked anything."""
    acquisition: Acquisition = "entropy"
    """`QUESTIONS_ACQUISITION`: what makes an answer worth asking about, see docs/algorithms/acquisition.md."""
    random_share: float = 0.1
    """`QUESTIONS_RANDOM_SHARE`: of the questions, drawn without looking at any score, from as large a share of the
    conversations that is set aside for them; only what people say of these is an unbiased picture."""
    compare_share: float = 0.3
    """`QUESTIONS_COMPARE_SHARE`: of the chosen questions, which of two answers is better, the second one sampled anew
    from the live policy; the others ask whether an answer is good, or what it should have been."""
    expiry_hours: float = 72.0
    """`QUESTIONS_EXPIRY_HOURS`: a question that nobody has answered by then is withdrawn."""
    pool: int = 500
    """`QUESTIONS_POOL`: the newest chats that are looked at after each refresh of the reward model."""
    known: Path | None = None
    """`QUESTIONS_KNOWN`: file of chats whose right judgement is known, read at the start: a line each, such as
    `{"completion_id": "chatcmpl-…", "value": "down"}`. People are asked about them among the others, again and again;
    with `VOTERS=weigh` who contradicts them is believed less."""
    known_share: float = 0.1
    """`QUESTIONS_KNOWN_SHARE`: of the questions, if there are such chats."""


def questions_from(given: Mapping[str, str]) -> QuestionSettings:
    """Of the variables without their prefix; raises `BadSetting`."""
    default = QuestionSettings()
    acquisition = one_of(given, "QUESTIONS_ACQUISITION", ACQUISITIONS, default.acquisition)
    return QuestionSettings(
        per_day=number(given, "QUESTIONS_PER_DAY", int, default.per_day),
        acquisition=cast(Any, acquisition),
        random_share=number(given, "QUESTIONS_RANDOM_SHARE", float, default.random_share, lowest=0.01, highest=1.0),
        compare_share=number(given, "QUESTIONS_COMPARE_SHARE", float, default.compare_share, highest=1.0),
        expiry_hours=number(given, "QUESTIONS_EXPIRY_HOURS", float, default.expiry_hours, lowest=0.01, highest=8760),
        pool=number(given, "QUESTIONS_POOL", int, default.pool, lowest=1),
        known=Path(given["QUESTIONS_KNOWN"]).expanduser() if "QUESTIONS_KNOWN" in given else None,
        known_share=number(given, "QUESTIONS_KNOWN_SHARE", float, default.known_share, highest=1.0),
    )
