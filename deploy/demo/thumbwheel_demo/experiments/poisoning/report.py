"""The figures of the poisoning experiment over all seeds, against its bars."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from thumbwheel_demo.report.intervals import crossed_interval
from thumbwheel_demo.report.record import Interval
from thumbwheel_demo.report.table import percent

WORTH_DEFENDING, LEFT_OVER, HONEST_HELD = 0.10, 1 / 3, 0.01
"""The bars: points an attack must cost to say anything, share of them that may be left, honest users held."""


class Cell(Struct, frozen=True, kw_only=True):
    """One attack with one seed."""

    attack: str
    seed: int
    settings: dict[str, Any]
    chosen: dict[str, dict[str, float]]
    """By arm, by held-out prompt: whether the best candidate satisfies."""
    any_answer: float
    votes: dict[str, int]
    honest_accounts: int
    minority_accounts: int
    colluders: int
    honest_held: list[str]
    minority_held: list[str]
    colluders_held: int
    held_without_attack: list[str]
    reasons: list[str]
    seconds: float


class AttackFigures(Struct, frozen=True, kw_only=True):
    """One attack over all seeds; losses are differences to honest labels on the same prompts and seeds."""

    attack: str
    seeds: list[int]
    arms: dict[str, Interval]
    undefended_loss: Interval
    defended_loss: Interval
    cost_without_attack: Interval
    loss_left: float | None
    """Defended loss in units of the undefended one; None where there was none."""
    undefended_loss_by_seed: list[float]
    defended_loss_by_seed: list[float]
    honest_held: float
    """Share of honest accounts, mean over seeds; so are the next ones."""
    honest_held_most: float
    """In the worst seed."""
    minority_held: float
    colluders_held: float
    held_without_attack: float
    reasons: list[str]
    """A few, of the first seed."""
    passed: bool


class Summary(Struct, frozen=True, kw_only=True):
    """Everything the experiment found."""

    attacks: list[AttackFigures]
    any_answer: float
    seconds: float
    schema_version: int = 1


def summary(cells: Sequence[Cell]) -> Summary:
    """Every attack over its seeds; raises `ValueError` without cells."""
    if not cells:
        raise ValueError("no cells to sum up")
    attacks = list(dict.fromkeys(cell.attack for cell in cells))
    return Summary(
        attacks=[_attack([c for c in cells if c.attack == attack]) for attack in attacks],
        any_answer=cells[0].any_answer,
        seconds=sum(cell.seconds for cell in cells),
    )


def _attack(cells: Sequence[Cell]) -> AttackFigures:
    names = sorted(cells[0].chosen["attacked"])
    arms = {arm: np.array([[c.chosen[arm][p] for p in names] for c in cells]) for arm in cells[0].chosen}
    clean = arms["honest labels"]
    undefended, defended = clean - arms["attacked"], clean - arms["attacked, weighed"]
    left = float(defended.mean() / undefended.mean()) if undefended.mean() > 0 else None
    shares = [len(c.honest_held) / c.honest_accounts for c in cells]
    bars = (undefended.mean() >= WORTH_DEFENDING, left is not None and left <= LEFT_OVER, max(shares) <= HONEST_HELD)
    return AttackFigures(
        attack=cells[0].attack,
        seeds=[c.seed for c in cells],
        arms={arm: crossed_interval(values) for arm, values in arms.items()},
        undefended_loss=crossed_interval(undefended),
        defended_loss=crossed_interval(defended),
        cost_without_attack=crossed_interval(clean - arms["honest labels, weighed"]),
        loss_left=left,
        undefended_loss_by_seed=undefended.mean(axis=1).tolist(),
        defended_loss_by_seed=defended.mean(axis=1).tolist(),
        honest_held=float(np.mean(shares)),
        honest_held_most=max(shares),
        minority_held=float(np.mean([len(c.minority_held) / max(1, c.minority_accounts) for c in cells])),
        colluders_held=float(np.mean([c.colluders_held / max(1, c.colluders) for c in cells])),
        held_without_attack=float(np.mean([len(c.held_without_attack) / c.honest_accounts for c in cells])),
        reasons=cells[0].reasons[:3],
        passed=all(map(bool, bars)),
    )


def write_table(found: Summary, file: Path, console: Console) -> None:
    """The table on the terminal and, plain, in a file."""
    table = Table(title="Colluding accounts against weighed voters", title_justify="left")
    table.add_column("")
    for row in found.attacks:
        table.add_column(row.attack, justify="right")
    for arm in found.attacks[0].arms:
        table.add_row(f"satisfied: {arm}", *(percent(row.arms[arm]) for row in found.attacks))
    table.add_row("loss, undefended, points", *(percent(r.undefended_loss, signed=True) for r in found.attacks))
    table.add_row("loss, weighed, points", *(percent(r.defended_loss, signed=True) for r in found.attacks))
    table.add_row(
        "share of the loss left", *("" if r.loss_left is None else f"{r.loss_left:.2f}" for r in found.attacks)
    )
    table.add_row("cost without attack, points", *(percent(r.cost_without_attack, signed=True) for r in found.attacks))
    for title, shares in (
        ("honest accounts held", [r.honest_held for r in found.attacks]),
        ("  in the worst seed", [r.honest_held_most for r in found.attacks]),
        ("  of those with a minority taste", [r.minority_held for r in found.attacks]),
        ("  without any attack", [r.held_without_attack for r in found.attacks]),
        ("colluders held", [r.colluders_held for r in found.attacks]),
    ):
        table.add_row(title, *(f"{share:.2%}" for share in shares))
    table.add_row("bars", *("met" if row.passed else "missed" for row in found.attacks))
    console.print(table)
    with file.open("w", encoding="utf-8") as out:
        Console(file=out, width=120).print(table)
