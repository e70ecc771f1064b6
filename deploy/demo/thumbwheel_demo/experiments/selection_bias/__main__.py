"""`python -m thumbwheel_demo.experiments.selection_bias`: what the reward gets wrong because the annoyed vote more than
the content, and what weighing votes by the inverse of their chance mends. The reward is a logistic head on the
frozen policy's features; minutes on one core.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (scikit-learn has no stubs; what leaves this file is typed)

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.console import Console
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from thumbwheel_demo.experiments.cells import RESULT, ask_learner, finished, seeds
from thumbwheel_demo.experiments.frozen import Features, Pool, PoolSettings, pool
from thumbwheel_demo.experiments.selection_bias.desk import UNSEEN, Day, Habits, Truth, a_day, truth_of
from thumbwheel_demo.experiments.selection_bias.report import Arm, Cell, Errors, Fit, summary, write_table
from thumbwheel_demo.report.record import write_json

PENALTY = 0.01
"""scikit-learn's C of the reward's head on standardised features."""
FOLDS = 5


class Weighed(Fit, frozen=True, kw_only=True):
    """What `python -m thumbwheel_learner.propensity` prints."""

    weights: dict[str, float]


def parser() -> argparse.ArgumentParser:
    """Options."""
    made = argparse.ArgumentParser(prog="thumbwheel_demo.experiments.selection_bias", description=__doc__)
    made.add_argument(
        "--out",
        type=Path,
        default=Path("build/experiments/selection_bias"),
        help="folder of answers, cells and figures",
    )
    made.add_argument("--seeds", type=seeds, default="1-10", help="who votes, and on what; default 1 to 10")
    made.add_argument("--chats", type=int, default=Habits.chats, help="chats of a seed, out of a pool of 2800")
    made.add_argument("--reviews", type=int, default=Habits.reviews, help="of them in the random slice")
    made.add_argument("--noise", type=float, default=Habits.noise, help="share of votes by mistake")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing, write `selection.json` and print the table; 1 when the bar is missed."""
    made = parser()
    given = made.parse_args(arguments)
    habits = Habits(chats=given.chats, reviews=given.reviews, noise=given.noise)
    if not 0 <= habits.reviews <= habits.chats <= PoolSettings.chats - UNSEEN or not 0 <= habits.noise <= 1:
        made.error(f"--reviews at most --chats at most {PoolSettings.chats - UNSEEN}, --noise from 0 to 1")
    console = Console()

    def say(text: str) -> None:
        console.print(text, highlight=False)

    answers = pool(given.out / "pool", PoolSettings(), say)
    truth = truth_of(answers)
    cells = [run_cell(answers, truth, habits, seed, given.out, say) for seed in given.seeds]
    found = summary(cells)
    write_json(given.out / "selection.json", found)
    write_table(found, given.out / "selection.txt", console)
    return 0 if found.passed else 1


def run_cell(answers: Pool, truth: Truth, habits: Habits, seed: int, out: Path, say: Callable[[str], None]) -> Cell:
    """One seed; read instead of run where an earlier call finished it with the same settings."""
    folder = out / f"seed-{seed}"
    asked = msgspec.json.decode(msgspec.json.encode({"pool": answers.settings, "habits": habits}))
    kept = finished(folder / RESULT, Cell)
    if kept is not None and kept.settings == asked:
        say(f"seed {seed}: already there")
        return kept
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    day = a_day(truth, habits, seed)
    fits, arms = arms_of(answers, truth, day, folder)
    cell = Cell(
        seed=seed,
        settings=asked,
        arms=arms,
        fits=fits,
        votes=int(day.voted.sum()),
        satisfied=float(day.satisfied.mean()),
        voted_satisfied=float(day.satisfied[day.voted].mean()),
        seconds=time.monotonic() - started,
    )
    write_json(folder / RESULT, cell)
    said = ", ".join(f"{name} {np.mean(list(a.unseen.squared.values())):.4f}" for name, a in cell.arms.items())
    say(f"seed {seed}: squared error {said}; {cell.seconds:.0f} s")
    return cell


def arms_of(answers: Pool, truth: Truth, day: Day, folder: Path) -> tuple[dict[str, Fit], dict[str, Arm]]:
    """What the learner says of its weights, and what rewards under these and other weights get wrong."""
    seen = Reader(answers, truth, day)
    believed, ones = seen.believed(), np.ones(len(day.up))
    found = {
        "features": weigh(day, believed, folder / "features.jsonl", reviewed=False),
        "reviews": weigh(day, believed, folder / "reviews.jsonl", reviewed=True),
        "reviews, votes at their word": weigh(
            day, believed, folder / "reviews.jsonl", "--at-their-word", reviewed=True
        ),
    }
    weights = {
        "unweighted": ones,
        **{name: np.array([fit.weights.get(str(n), 0.0) for n in range(len(ones))]) for name, fit in found.items()},
        "true chances": 1 / day.chance,
    }
    chances = {
        **{name: seen.by_votes(each) for name, each in weights.items()},
        "unweighted, calibrated on the reviews": seen.by_votes_and_reviews(ones),
        "reviews, calibrated on the reviews": seen.by_votes_and_reviews(weights["reviews"]),
        "reviews alone": seen.by_reviews(),
    }
    fits = {name: msgspec.convert(msgspec.to_builtins(fit), Fit) for name, fit in found.items()}
    return fits, {name: arm(answers, truth, day, each, weights.get(name)) for name, each in chances.items()}


def weigh(day: Day, believed: Features, file: Path, *options: str, reviewed: bool) -> Weighed:
    """Ask the learner, in a process of its own, what each vote is worth; a conversation's features are its topic."""
    topics = int(day.topic.max()) + 1
    rows = [
        {
            "id": str(n),
            "features": [float(day.topic[n] == topic) for topic in range(topics)],
            "up": bool(day.up[n]) if day.voted[n] else None,
            "satisfied": bool(day.satisfied[n]) if reviewed and day.reviewed[n] else None,
            "believed": float(believed[n]) if day.voted[n] else None,
        }
        for n in range(len(day.up))
    ]
    return ask_learner("propensity", rows, file, Weighed, *options)


class Reader:
    """P(satisfied) of unseen chats and candidates by heads on frozen features, taught by one day's votes or reviews."""

    def __init__(self, answers: Pool, truth: Truth, day: Day) -> None:
        chats, candidates = answers.features["chats"], answers.features["candidates"]
        scale = StandardScaler().fit(np.concatenate([chats, candidates]))
        self.rows: Any = scale.transform(chats[day.had])
        self.asked: Any = scale.transform(np.concatenate([chats[truth.unseen], candidates]))
        self.day = day

    def by_votes(self, weights: Features) -> Features:
        """[unseen + candidates] from votes as heavy as `weights` [N]."""
        at = np.flatnonzero(self.day.voted)
        return self._calibrated(at, self.day.up[at], weights[at])

    def by_reviews(self) -> Features:
        """[unseen + candidates] from the random slice alone."""
        at = np.flatnonzero(self.day.reviewed)
        return self._calibrated(at, self.day.satisfied[at], np.ones(len(at)))

    def believed(self) -> Features:
        """[N] P(up) of each vote's answer by a head that equal other votes taught; nan without a vote."""
        at = np.flatnonzero(self.day.voted)
        out = np.full(len(self.day.up), np.nan)
        scores = self._without_own(at, self.day.up[at], np.ones(len(at)))
        out[at] = platt(scores, self.day.up[at], np.ones(len(at)), scores)
        return out

    def by_votes_and_reviews(self, weights: Features) -> Features:
        """[unseen + candidates] from votes outside of the random slice, calibrated on the slice."""
        at, slice_ = np.flatnonzero(self.day.voted & ~self.day.reviewed), np.flatnonzero(self.day.reviewed)
        head = fitted(self.rows[at], self.day.up[at], weights[at] / weights[at].mean(), PENALTY)
        scores = head.decision_function(self.rows[slice_])
        return platt(scores, self.day.satisfied[slice_], np.ones(len(slice_)), head.decision_function(self.asked))

    def _calibrated(self, at: Any, up: Features, weights: Features) -> Features:
        """Scores of a head on all labels, calibrated on scores that came without them, with the same weights."""
        weights = weights / weights.mean()
        head = fitted(self.rows[at], up, weights, PENALTY)
        return platt(self._without_own(at, up, weights), up, weights, head.decision_function(self.asked))

    def _without_own(self, at: Any, up: Features, weights: Features) -> Features:
        """[at] scores by heads that were not taught this label."""
        scores, fold = np.zeros(len(at)), np.arange(len(at)) % FOLDS
        for n in range(FOLDS):
            held = fold == n
            head = fitted(self.rows[at[~held]], up[~held], weights[~held], PENALTY)
            scores[held] = head.decision_function(self.rows[at[held]])
        return scores


def platt(scores: Features, up: Features, weights: Features, asked: Features) -> Features:
    """[asked] P(up) by slope and offset fitted to `scores` (Platt 1999), hardly penalised."""
    return np.asarray(fitted(scores[:, None], up, weights, 1e3).predict_proba(asked[:, None])[:, 1], dtype=np.float64)


def fitted(rows: Features, up: Features, weights: Features, penalty: float) -> Any:
    """A logistic regression of `up` on `rows`."""
    return LogisticRegression(C=penalty, max_iter=2000).fit(rows, up > 0, sample_weight=weights)


def arm(answers: Pool, truth: Truth, day: Day, chances: Features, weights: Features | None) -> Arm:
    """Errors of P(satisfied), and of the weighed votes' own means where there are weights."""
    unseen, candidates = np.split(chances, [len(truth.unseen)])
    chats, heldout = answers.scenarios["chats"], answers.scenarios["candidates"]
    means = None if weights is None else weighed_means(day, weights)
    return Arm(
        unseen=errors(
            unseen,
            truth.satisfied["chats"][truth.unseen],
            truth.topic["chats"][truth.unseen],
            [chats[n].id for n in truth.unseen],
        ),
        heldout=errors(
            candidates, truth.satisfied["candidates"], truth.topic["candidates"], [scenario.id for scenario in heldout]
        ),
        votes_mean=None if means is None else means[0],
        votes_topic=None if means is None else means[1],
    )


def errors(chances: Features, satisfied: Features, topic: Any, ids: Sequence[str]) -> Errors:
    """Of P(satisfied) [N] against the hidden truth; squared ones by conversation, means by topic."""
    off = chances - satisfied
    at = np.array(ids)
    names = list(dict.fromkeys(ids))
    return Errors(
        squared={name: float(np.square(off[at == name]).mean()) for name in names},
        mean=float(off.mean()),
        topic=float(np.mean([abs(float(off[topic == t].mean())) for t in np.unique(topic)])),
    )


def weighed_means(day: Day, weights: Features) -> tuple[float, float]:
    """Errors of the weighed share of up-votes against all chats' satisfaction: over all, and the mean over topics."""

    def error(at: Any) -> float:
        said = at & day.voted
        return abs(float(np.average(day.up[said], weights=weights[said]) - day.satisfied[at].mean()))

    topics = [day.topic == topic for topic in np.unique(day.topic) if np.any(day.voted & (day.topic == topic))]
    return error(np.ones(len(day.up), dtype=np.bool_)), float(np.mean([error(at) for at in topics]))


if __name__ == "__main__":
    sys.exit(main())
