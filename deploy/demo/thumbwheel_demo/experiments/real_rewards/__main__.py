"""`python -m thumbwheel_demo.experiments.real_rewards --model DIR`: reward heads on features of a frozen pretrained
model against simple rules, on real preferences, in five folds. Some of the texts are offensive by design.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from thumbwheel_demo.experiments.cells import finished, seeds
from thumbwheel_demo.experiments.real_rewards import rewards
from thumbwheel_demo.experiments.real_rewards.features import Features, features_of
from thumbwheel_demo.experiments.real_rewards.preferences import DATA, FOLDER, Preferences, Question, flat
from thumbwheel_demo.experiments.real_rewards.report import REWARD, Cell, Summary, summary, write_table
from thumbwheel_demo.experiments.real_rewards.rewards import Array, Block, Told
from thumbwheel_demo.report.figures import forest
from thumbwheel_demo.report.record import write_json
from thumbwheel_learner.reward.baselines import bigrams_in


@dataclass(frozen=True)
class How:
    """What the reward reads of one data set; chosen on other cuts than those that are reported."""

    components: int
    """Of the pretrained features."""
    bigrams: bool
    """Whether it may read what the bigrams say: of few pairs they say little, and choosing costs more."""


HOW = {"human_pairs": How(64, bigrams=False), "judged_responses": How(100, bigrams=True)}


def parser() -> argparse.ArgumentParser:
    """Options."""
    made = argparse.ArgumentParser(prog="thumbwheel_demo.experiments.real_rewards", description=__doc__)
    made.add_argument("--model", type=Path, required=True, help="checkpoint folder of a pretrained model")
    made.add_argument("--data", type=Path, default=FOLDER, help="folder of the two data sets")
    made.add_argument("--sets", default=",".join(DATA), help=f"some of {', '.join(DATA)} (default both)")
    made.add_argument("--seeds", type=seeds, default="1-3", help="ways to cut the data in five; default 1 to 3")
    made.add_argument(
        "--states",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="read every answer with the model, too: a quarter of an hour on one core, once",
    )
    made.add_argument("--out", type=Path, default=Path("build/experiments/real_rewards"), help="folder of the figures")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing, write `real_rewards.json`, a table and a picture; 1 when a bar is missed."""
    made = parser()
    given = made.parse_args(arguments)
    names = [name for name in str(given.sets).split(",") if name]
    if unknown := [name for name in names if name not in DATA]:
        made.error(f"unknown data set {unknown[0]!r}; there are {', '.join(DATA)}")
    if missing := [name for name in names if not (given.data / f"{name}.jsonl.gz").exists()]:
        print(f"{given.data / missing[0]}.jsonl.gz is not here: nothing measured")
        return 0
    console = Console()

    def say(text: str) -> None:
        console.print(text, highlight=False)

    cells: list[Cell] = []
    data: dict[str, Preferences] = {}
    for name in names:
        questions = DATA[name](given.data)
        data[name] = flat(questions)
        experiment = Experiment(name, questions, given.model, given.out, states=given.states)
        cells += [experiment.cell(seed, say) for seed in given.seeds]
    found = summary(cells, {n: d.clusters for n, d in data.items()}, {n: apart(d) for n, d in data.items()})
    write_json(given.out / "real_rewards.json", found)
    (given.out / "real_rewards.svg").write_text(picture(found), encoding="utf-8")
    write_table(found, given.out / "real_rewards.txt", console)
    return 0 if found.passed else 1


class Experiment:
    """One data set; features are made when the first cell needs them."""

    def __init__(self, name: str, questions: Sequence[Question], model: Path, out: Path, *, states: bool) -> None:
        self.name = name
        self.data = flat(questions)
        self._questions, self._model, self._out, self._states = questions, model, out, states
        self._blocks: dict[str, list[Block]] = {}

    def cell(self, seed: int, say: Callable[[str], None]) -> Cell:
        """All arms in five folds; read instead of run where an earlier call finished it with the same settings."""
        file = self._out / f"{self.name}-{seed}.json"
        kept = finished(file, Cell)
        if kept is not None and kept.settings == self.settings:
            say(f"{self.name}, seed {seed}: already there")
            return kept
        started = time.monotonic()
        told = self.told(seed)
        reward = told[REWARD]
        found = Cell(
            data=self.name,
            seed=seed,
            settings=self.settings,
            margins={arm: each.margins.tolist() for arm, each in told.items()},
            stated=reward.stated.tolist(),
            disagreement=reward.disagreement.tolist(),
            chosen={arm: each.chosen.split("; ") for arm, each in told.items() if each.chosen},
            seconds=time.monotonic() - started,
        )
        write_json(file, found)
        right = ", ".join(f"{arm} {np.mean(each.margins > 0):.1%}" for arm, each in told.items())
        say(f"{self.name}, seed {seed}: {right}; {found.seconds:.0f} s")
        return found

    @property
    def settings(self) -> dict[str, Any]:
        """What a cell depends on."""
        made = {"model": self._model.name, "states": self._states, "questions": len(self._questions)}
        return made | asdict(HOW[self.name]) | {"choices": [list(c) for c in rewards.CHOICES]}

    def told(self, seed: int) -> dict[str, Told]:
        """What every arm says of every pair, always from the four other folds."""
        splits = rewards.splits(self.data.clusters, seed)
        longer = rewards.by_length(self.data)
        fixed = {"longer wins": longer, "shorter wins": -longer}
        none = np.zeros(len(longer))
        words = bigrams_in(self.data.answers)
        parts: dict[str, list[Told]] = {}
        for split in splits:
            bag, penalty = rewards.bigrams(self.data, words, split)
            parts.setdefault("bigrams", []).append(bag)
            for arm, blocks in self.blocks().items():
                read = (words, penalty) if arm == REWARD and HOW[self.name].bigrams else None
                parts.setdefault(arm, []).append(rewards.heads(self.data, blocks, split, seed, read))
        found = {arm: Told(margins, none + 0.5, none, "") for arm, margins in fixed.items()}
        return found | {arm: _joined(splits, told) for arm, told in parts.items()}

    def blocks(self) -> dict[str, list[Block]]:
        """The features of every arm that is made of heads."""
        if not self._blocks:
            kept = self._out / "features" if self._states else None
            found = features_of(self._questions, self._model, kept)
            self._blocks = {"surface": [Block(found.surface)], REWARD: _pretrained(found, HOW[self.name].components)}
        return self._blocks


def _pretrained(found: Features, width: int) -> list[Block]:
    states = [Block(layer, width) for layer in found.states]
    return [Block(found.surface), Block(found.embedded, width), Block(found.nearness), *states]


def _joined(splits: Sequence[rewards.Split], parts: Sequence[Told]) -> Told:
    """Every pair from the fold in which it was held out."""
    order = np.argsort(np.concatenate([split.test for split in splits]))
    margins, stated, disagreement = (np.concatenate(values)[order] for values in list(zip(*parts, strict=True))[:3])
    return Told(margins, stated, disagreement, "; ".join(part.chosen for part in parts))


def apart(data: Preferences) -> Array:
    """[P] how far the logarithms of the two answers' characters are apart."""
    length = np.log([max(1, len(a)) for a in data.answers])
    return np.abs(length[data.pairs[:, 0]] - length[data.pairs[:, 1]])


def picture(found: Summary) -> str:
    """SVG: what the reward has over each baseline."""
    rows = [(f"{d.data}: over {arm}", i.mean, i.low, i.high) for d in found.data for arm, i in d.over.items()]
    return forest(rows, "Pairs that the reward puts in the right order less those of a baseline, 95% intervals")


if __name__ == "__main__":
    sys.exit(main())
