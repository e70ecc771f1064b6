"""`python -m thumbwheel_demo.experiments.poisoning`: what a few colluding accounts do to the reward, and what weighing
voters saves. Best of n candidate answers under the reward stands in for PPO: both go where the reward is high, and
this takes minutes on one core.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (scikit-learn has no stubs; what leaves this file is typed)

import argparse
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast, get_args

import msgspec
import numpy as np
from msgspec import Struct
from rich.console import Console
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from thumbwheel_demo.experiments.cells import RESULT, ask_learner, finished, seeds
from thumbwheel_demo.experiments.frozen import Features, Pool, PoolSettings, Trait, pool
from thumbwheel_demo.experiments.poisoning.electorate import Attack, Cast, Crowd, colluders_votes, honest_votes
from thumbwheel_demo.experiments.poisoning.report import Cell, summary, write_table
from thumbwheel_demo.report.record import write_json
from thumbwheel_demo.satisfaction import judge

PENALTY = 0.01
"""scikit-learn's C of the reward's head on standardised features."""


class Weighed(Struct, frozen=True):
    """What `python -m thumbwheel_learner.voters` prints."""

    weights: dict[str, float]
    quarantined: list[dict[str, Any]]


def parser() -> argparse.ArgumentParser:
    """Options."""
    made = argparse.ArgumentParser(prog="thumbwheel_demo.experiments.poisoning", description=__doc__)
    made.add_argument(
        "--out", type=Path, default=Path("build/experiments/poisoning"), help="folder of answers, cells and figures"
    )
    made.add_argument(
        "--seeds", type=seeds, default="1,2,3,4,5", help="who votes on what follows from it; default 1,2,3,4,5"
    )
    made.add_argument("--attacks", default="overt,camouflaged", help="what colluders do with answers without the trait")
    made.add_argument("--trait", choices=get_args(Trait), default="invented", help="what colluders push")
    made.add_argument("--chats", type=int, default=PoolSettings.chats, help="answers to vote on")
    made.add_argument("--accounts", type=int, default=Crowd.accounts, help="honest and colluding ones together")
    made.add_argument("--times", type=float, default=Crowd.times, help="votes of a colluder per vote of an honest one")
    made.add_argument("--prompts", type=int, default=PoolSettings.prompts, help="held-out prompts")
    made.add_argument("--best-of", type=int, default=PoolSettings.best_of, help="candidates per held-out prompt")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing, write `poisoning.json` and print the table; 1 when a bar is missed."""
    made = parser()
    given = made.parse_args(arguments)
    attacks = [a for a in str(given.attacks).split(",") if a]
    if unknown := [a for a in attacks if a not in get_args(Attack)]:
        made.error(f"unknown attack {unknown[0]!r}; there are {', '.join(get_args(Attack))}")
    console = Console()

    def say(text: str) -> None:
        console.print(text, highlight=False)

    crowd = Crowd(accounts=given.accounts, times=given.times)
    settings = PoolSettings(given.trait, given.chats, PoolSettings.pushed, given.prompts, given.best_of)
    answers = pool(given.out / "pool", settings, say)
    cells = [run_cell(answers, crowd, cast(Attack, a), s, given.out, say) for s in given.seeds for a in attacks]
    found = summary(cells)
    write_json(given.out / "poisoning.json", found)
    write_table(found, given.out / "poisoning.txt", console)
    return 0 if all(row.passed for row in found.attacks) else 1


def run_cell(pool: Pool, crowd: Crowd, attack: Attack, seed: int, out: Path, say: Callable[[str], None]) -> Cell:
    """One attack with one seed; read instead of run where an earlier call finished it with the same settings."""
    folder = out / f"{attack}-{seed}"
    asked = {"pool": msgspec.to_builtins(pool.settings), "crowd": msgspec.to_builtins(crowd)}
    kept = finished(folder / RESULT, Cell)
    if kept is not None and kept.settings == asked:
        say(f"{attack}, seed {seed}: already there")
        return kept
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    honest, tastes, left = honest_votes(pool, crowd, seed)
    both = [*honest, *colluders_votes(pool, crowd, attack, honest, left, seed)]
    random.Random(f"order-{seed}").shuffle(both)
    clean, attacked = weigh(pool, honest, folder / "honest.jsonl"), weigh(pool, both, folder / "attacked.jsonl")
    chosen = {
        "honest labels": satisfied(pool, honest, {}),
        "honest labels, weighed": satisfied(pool, honest, clean.weights),
        "attacked": satisfied(pool, both, {}),
        "attacked, weighed": satisfied(pool, both, attacked.weights),
    }
    held = {entry["user"] for entry in attacked.quarantined}
    cell = Cell(
        attack=attack,
        seed=seed,
        settings=asked,
        chosen=chosen,
        any_answer=any_answer(pool),
        votes={"honest": len(honest), "colluders": len(both) - len(honest)},
        honest_accounts=len(tastes),
        minority_accounts=sum(taste != "common" for taste in tastes.values()),
        colluders=len({c.user for c in both} - set(tastes)),
        honest_held=sorted(held & set(tastes)),
        minority_held=sorted(u for u in held if tastes.get(u, "common") != "common"),
        colluders_held=len(held - set(tastes)),
        held_without_attack=sorted(entry["user"] for entry in clean.quarantined),
        reasons=[str(entry["reason"]) for entry in attacked.quarantined],
        seconds=time.monotonic() - started,
    )
    write_json(folder / RESULT, cell)
    say(in_short(cell))
    return cell


def in_short(cell: Cell) -> str:
    """One line of progress."""
    means = ", ".join(f"{name} {np.mean(list(values.values())):.0%}" for name, values in cell.chosen.items())
    return f"{cell.attack}, seed {cell.seed}: {means}; {cell.seconds:.0f} s"


def weigh(pool: Pool, votes: Sequence[Cast], file: Path) -> Weighed:
    """Ask the learner, in a process of its own, what each user's votes are worth."""

    def label(n: int, vote: Cast) -> dict[str, Any]:
        scenario = pool.scenarios[vote.part][vote.index]
        return {
            "messages": scenario.messages,
            "answer": pool.texts[vote.part][vote.index],
            "kind": "thumb",
            "value": float(vote.up),
            "user": vote.user,
            "conversation_id": scenario.id,
            "created_ms": n,
            "event_id": f"vote-{n:06d}",
        }

    return ask_learner("voters", [label(n, vote) for n, vote in enumerate(votes)], file, Weighed)


def satisfied(pool: Pool, votes: Sequence[Cast], weights: dict[str, float]) -> dict[str, float]:
    """Whether the best candidate under the reward that these votes teach satisfies, by prompt."""
    scores = reward(pool, votes, weights)(pool.features["candidates"]).reshape(-1, pool.settings.best_of)
    out: dict[str, float] = {}
    for n, best in enumerate(scores.argmax(axis=1)):
        i = n * pool.settings.best_of + int(best)
        scenario = pool.scenarios["candidates"][i]
        out[scenario.id] = float(judge(scenario, pool.texts["candidates"][i]).satisfied)
    return out


def reward(pool: Pool, votes: Sequence[Cast], weights: dict[str, float]) -> Callable[[Features], Features]:
    """A logistic head on the frozen policy's features, each vote as heavy as its user."""
    rows = np.stack([pool.features[v.part][v.index] for v in votes])
    heavy = np.array([weights.get(v.user, 1.0) for v in votes])
    inside = heavy > 0
    scale = StandardScaler().fit(np.concatenate([pool.features["chats"], pool.features["candidates"]]))
    head = LogisticRegression(C=PENALTY, max_iter=2000)
    up = np.array([v.up for v in votes])
    head.fit(scale.transform(rows[inside]), up[inside], sample_weight=heavy[inside])

    def score(features: Features) -> Features:
        return np.asarray(head.decision_function(scale.transform(features)), dtype=np.float64)

    return score


def any_answer(pool: Pool) -> float:
    """Share of all candidates that satisfy: what choosing at random would give."""
    both = zip(pool.scenarios["candidates"], pool.texts["candidates"], strict=True)
    return float(np.mean([judge(scenario, text).satisfied for scenario, text in both]))


if __name__ == "__main__":
    sys.exit(main())
