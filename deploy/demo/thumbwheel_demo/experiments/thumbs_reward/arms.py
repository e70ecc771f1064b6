"""Reward models trained on one seed's thumbs, one for every arm, and what each says of held-out answers."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch are partial; what leaves this file is typed)

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch

from thumbwheel_demo.experiments.cells import RESULT, finished
from thumbwheel_demo.experiments.chats import prompt_ids
from thumbwheel_demo.experiments.thumbs_reward.answers import Amounts, Answers, scenarios_of
from thumbwheel_demo.experiments.thumbs_reward.voters import Desk, Habits, Population, open_desk
from thumbwheel_demo.report.record import write_json
from thumbwheel_demo.satisfaction import judge
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.model.tokens import READ_TOKENS, by_length, fit
from thumbwheel_learner.model.trunk import Trunk
from thumbwheel_learner.reward.config import FROZEN, HEADS_ALONE, RewardConfig
from thumbwheel_learner.reward.labels import Row
from thumbwheel_learner.reward.likelihood import KnownLikelihoods
from thumbwheel_learner.reward.model import ALL, RewardModel
from thumbwheel_learner.reward.training import train_reward

FAIR: Population = "fair"
IMPRESSED: Population = "impressed by length"


@dataclass(frozen=True)
class Arm:
    """Who votes, and what is set otherwise than by default."""

    population: Population
    trunk: str = RewardConfig.trunk
    members: int = RewardConfig.members
    length_head: float = 0.0
    meta_rate: float = 0.0
    bootstrap: bool = False
    prior_scale: float = 0.0

    def config(self, seed: int) -> RewardConfig:
        """The learner's defaults with this arm's settings on top."""
        return replace(
            RewardConfig(seed=seed),
            trunk=self.trunk,
            members=self.members,
            length_head=self.length_head,
            meta_rate=self.meta_rate,
            bootstrap=self.bootstrap,
            prior_scale=self.prior_scale,
        )


ARMS: Mapping[str, Arm] = {
    "default": Arm(FAIR),
    "length head": Arm(FAIR, length_head=1.0),
    "meta step": Arm(FAIR, meta_rate=0.1),
    "four members": Arm(FAIR, members=4),
    "four members by user": Arm(FAIR, members=4, bootstrap=True, prior_scale=1.0),
    "heads alone": Arm(FAIR, trunk=FROZEN, **HEADS_ALONE),
    "impressed": Arm(IMPRESSED),
    "impressed with length head": Arm(IMPRESSED, length_head=1.0),
}


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What a reward model says of some answers, and the truth about them."""

    who: list[str]
    """Whose thumb it is; the prompt, where nobody votes."""
    thumbs: list[float]
    """1 up, 0 down; empty where nobody votes."""
    satisfied: list[bool]
    tokens: list[int]
    members: list[list[float]]
    """[N][K] logits that a typical user's thumb is up, uncalibrated."""


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One arm of one seed."""

    arm: str
    seed: int
    settings: Any
    temperature: float
    lapse: float
    labels: int
    held_out: Said
    moved: Said
    """Answers of the policy that moved."""
    seconds: float


@dataclass(frozen=True)
class Bench:
    """Answers with what the frozen blocks make of them: the same for every arm and seed."""

    rows: list[Row]
    trunk: Trunk
    known: KnownLikelihoods

    @torch.no_grad()
    def score(self, reward: RewardModel, which: Sequence[int]) -> list[list[float]]:
        """[N][K] logits of some of them, `Said.members`."""
        found: list[list[float]] = [[] for _ in which]
        for group in by_length([len(self.rows[i]) for i in which], READ_TOKENS):
            rows = [self.rows[which[i]] for i in group]
            trunk = self.trunk if self.trunk.holds(rows) else None
            scores = reward.raw(rows, trunk, ALL, self.known.of(rows)) + reward.thumb_bias[:, None]
            for i, of_members in zip(group, scores.T.tolist(), strict=True):
                found[i] = [round(x, 5) for x in of_members]
        return found


def bench_of(model: PolicyModel, asked: Sequence[Sequence[int]], texts: Sequence[str]) -> Bench:
    """Read answers once, up to where adapters begin."""
    config = RewardConfig()
    rows = [
        Row(*fit(list(p), model.tokens.answer_ids(t), config.max_length)) for p, t in zip(asked, texts, strict=True)
    ]
    first_block = model.blocks.above(config.adapted_blocks)
    trunk = Trunk(model, first_block, rows, config.trunk_bytes)
    return Bench(rows, trunk, KnownLikelihoods(model, rows, trunk, first_block))


class Runner:
    """Makes the cells of one pool of answers; finished ones are read."""

    def __init__(self, model: PolicyModel, answers: Answers, habits: Habits, out: Path) -> None:
        self.model, self.answers, self.habits, self.out = model, answers, habits, out
        self.scenarios = scenarios_of(answers.amounts)
        self.asked = {kind: [prompt_ids(model, s) for s in some] for kind, some in self.scenarios.items()}
        self._benches: dict[str, Bench] = {}
        self._at = {s.id: i for i, s in enumerate(self.scenarios["chats"])}

    def seed(self, seed: int, arms: Sequence[str], say: Callable[[str], None]) -> list[Cell]:
        """Every arm of one seed."""
        asked = {name: _settings(self.answers.amounts, self.habits, ARMS[name]) for name in arms}
        cells: dict[str, Cell] = {}
        for name in arms:
            kept = finished(self._file(name, seed), Cell)
            if kept is not None and kept.settings == asked[name]:
                cells[name] = kept
        for population in (FAIR, IMPRESSED):
            missing = [name for name in arms if name not in cells and ARMS[name].population == population]
            if not missing:
                continue
            desk = open_desk(
                self.scenarios["chats"], self.answers.chats, self.asked["chats"], population, self.habits, seed
            )
            for name in missing:
                cells[name] = self._cell(name, seed, desk, asked[name])
                write_json(self._file(name, seed), cells[name])
                say(f"seed {seed}, {name}: {cells[name].labels} labels, {cells[name].seconds:.0f} s")
        return [cells[name] for name in arms]

    def _file(self, name: str, seed: int) -> Path:
        return self.out / f"seed-{seed}" / name.replace(" ", "-") / RESULT

    def _cell(self, name: str, seed: int, desk: Desk, settings: Any) -> Cell:
        started = time.monotonic()
        arm = ARMS[name]
        reward, report = train_reward(
            self.model,
            desk.training,
            arm.config(seed),
            self._file(name, seed).parent / "reward",
            shifted=self._practice() if arm.meta_rate else (),
        )
        bench, held = self._bench("chats"), [self._at[thumb.conversation_id] for thumb in desk.held_out]
        held_out = Said(
            who=[thumb.user for thumb in desk.held_out],
            thumbs=[thumb.value for thumb in desk.held_out],
            satisfied=desk.satisfied,
            tokens=[len(bench.rows[i].answer) for i in held],
            members=bench.score(reward, held),
        )
        return Cell(
            arm=name,
            seed=seed,
            settings=settings,
            temperature=reward.temperature,
            lapse=reward.lapse,
            labels=report.n_train,
            held_out=held_out,
            moved=self._on_the_moved(reward),
            seconds=time.monotonic() - started,
        )

    def _practice(self) -> list[list[Row]]:
        limit = RewardConfig.max_length
        return [
            [Row(*fit(ids, self.model.tokens.answer_ids(text), limit)) for text in texts]
            for ids, texts in zip(self.asked["practice"], self.answers.practice, strict=True)
        ]

    def _bench(self, kind: Literal["chats", "moved"]) -> Bench:
        if kind not in self._benches:
            answers = [[text] for text in self.answers.chats] if kind == "chats" else self.answers.moved
            both = [(ids, text) for ids, row in zip(self.asked[kind], answers, strict=True) for text in row]
            self._benches[kind] = bench_of(self.model, [ids for ids, _ in both], [text for _, text in both])
        return self._benches[kind]

    def _on_the_moved(self, reward: RewardModel) -> Said:
        bench = self._bench("moved")
        both = [(s, t) for s, row in zip(self.scenarios["moved"], self.answers.moved, strict=True) for t in row]
        return Said(
            who=[s.id for s, _ in both],
            thumbs=[],
            satisfied=[judge(s, text).satisfied for s, text in both],
            tokens=[len(row.answer) for row in bench.rows],
            members=bench.score(reward, range(len(both))),
        )


def _settings(amounts: Amounts, habits: Habits, arm: Arm) -> Any:
    """What a kept cell must agree on."""
    return msgspec.json.decode(msgspec.json.encode({"answers": amounts, "habits": habits, "arm": arm}))
