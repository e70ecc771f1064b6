"""`python -m thumbwheel_learner.propensity FILE`: weigh the votes in a file of conversations, as a dry run."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from thumbwheel_learner.propensity.model import BadDesk, Desk
from thumbwheel_learner.propensity.weigh import PropensityConfig, weigh_votes


class Line(Struct, forbid_unknown_fields=True):
    """One conversation, with a vote or without."""

    id: str
    features: list[float]
    up: bool | None = None
    """The vote, if any."""
    satisfied: bool | None = None
    """What a reviewer of the random slice found, if it is in there."""
    believed: float | None = None
    """P(satisfied) by a reward model that has not seen the vote; for all votes or for none."""


def parser() -> argparse.ArgumentParser:
    """Options."""
    made = argparse.ArgumentParser(prog="thumbwheel_learner.propensity", description=__doc__)
    made.add_argument("file", type=Path, help='JSONL, one {"id", "features", "up", "satisfied", "believed"} a line')
    made.add_argument("--min-reviews", type=int, default=PropensityConfig.min_reviews, help="fewer: features alone")
    made.add_argument("--at-their-word", action="store_true", help="no vote is taken for a mistake")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one JSON document: the weight of every vote by conversation, and how well P(vote) is known."""
    made = parser()
    given = made.parse_args(arguments)
    try:
        lines = [msgspec.json.decode(row, type=Line) for row in given.file.read_bytes().splitlines() if row]
        found = weigh_votes(
            desk_of(lines), PropensityConfig(min_reviews=given.min_reviews, at_their_word=given.at_their_word)
        )
    except (OSError, ValueError) as error:
        made.error(str(error))
    weights = {
        line.id: weight for line, weight in zip(lines, found.weights.tolist(), strict=True) if line.up is not None
    }
    print(msgspec.json.encode({"weights": weights, **found.as_dict()}).decode())
    return 0


def desk_of(lines: Sequence[Line]) -> Desk:
    """The conversations as arrays; raises `BadDesk`."""
    if not lines:
        raise BadDesk("no conversations")
    if len({len(line.features) for line in lines}) > 1:
        raise BadDesk("features: not the same number for every conversation")
    if len({line.id for line in lines}) < len(lines):
        raise BadDesk("id: two conversations have the same")
    nan = float("nan")
    believed = np.array([nan if line.believed is None else line.believed for line in lines])
    return Desk(
        features=np.array([line.features for line in lines], dtype=np.float64).reshape(len(lines), -1),
        voted=np.array([line.up is not None for line in lines], dtype=np.bool_),
        up=np.array([nan if line.up is None else float(line.up) for line in lines]),
        satisfied=np.array([nan if line.satisfied is None else float(line.satisfied) for line in lines]),
        believed=None if np.isnan(believed).all() else believed,
    )


if __name__ == "__main__":
    sys.exit(main())
