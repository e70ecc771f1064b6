"""`python -m thumbwheel_learner.voters FILE`: weigh the users behind a file of judged answers, as a dry run."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from thumbwheel_learner.dataset.examples import Judged
from thumbwheel_learner.voters.weigh import VotersConfig, weigh


def parser() -> argparse.ArgumentParser:
    """Options."""
    made = argparse.ArgumentParser(prog="thumbwheel_learner.voters", description=__doc__)
    made.add_argument("file", type=Path, help="JSONL, one judged answer a line, as in examples.Judged")
    made.add_argument("--released", default="", help="users an operator trusts, comma-separated")
    made.add_argument("--held", default="", help="users an operator keeps out, comma-separated")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one JSON document: the weight of every user, and who is in quarantine and why."""
    given = parser().parse_args(arguments)
    judged = [msgspec.json.decode(line, type=Judged) for line in given.file.read_bytes().splitlines() if line]
    config = VotersConfig(weigh=True, released=names(given.released), held=names(given.held))
    found = weigh(judged, [], config)
    print(msgspec.json.encode({"weights": found.weights, **found.as_dict()}).decode())
    return 0


def names(text: str) -> tuple[str, ...]:
    """User ids from a comma-separated list, each once."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


if __name__ == "__main__":
    sys.exit(main())
