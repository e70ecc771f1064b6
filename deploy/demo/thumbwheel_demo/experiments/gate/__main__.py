"""`python -m thumbwheel_demo.experiments.gate`: how often the gate ships candidates of known worth.

Three kinds of candidate come before the learner's own gate, with a judge that is really trained on simulated people's
votes on the demo policy's answers. Candidates are not trained: each is the live policy with some of its sampled answers
made likelier, so that it satisfies exactly as many customers as wanted. Those of one seed share its people, labels,
judge and sampled answers; prompts and rollouts are drawn anew for each. `--trained` adds a few that really learned, by
a short PPO on a reward model's scores with their sign turned round.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from thumbwheel_demo.experiments.cells import seeds
from thumbwheel_demo.experiments.gate.candidates import GAINS
from thumbwheel_demo.experiments.gate.desk import DeskOptions, open_desk
from thumbwheel_demo.experiments.gate.trials import (
    BARS,
    TRAINED,
    GateFigures,
    KindFigures,
    Trial,
    Trials,
    figures,
    options_of,
    planned,
    try_candidates,
)
from thumbwheel_demo.policy import weights_dir
from thumbwheel_demo.report.record import write_json
from thumbwheel_demo.report.table import percent
from thumbwheel_learner.gate.config import GateConfig
from thumbwheel_learner.model.loading import load_policy


def parser() -> argparse.ArgumentParser:
    """Options; the defaults take well under an hour on one core."""
    made = argparse.ArgumentParser(
        prog="thumbwheel_demo.experiments.gate",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    made.add_argument("--candidates", type=int, default=100, help="of each kind, dealt out over the seeds")
    made.add_argument("--trained", type=int, default=0, help="candidates trained on negated reward, dealt out likewise")
    made.add_argument("--seeds", type=seeds, default="1-10", help="each has people, labels and a judge of its own")
    made.add_argument("--chats", type=int, default=DeskOptions.chats, help="chats before the gate, by seed")
    made.add_argument(
        "--answers", type=int, default=DeskOptions.answers, help="sampled answers per prompt to choose from"
    )
    made.add_argument("--prompts", type=int, default=GateConfig.prompts, help="the gate's prompts, at most")
    made.add_argument(
        "--out", type=Path, default=Path("build/experiments/gate"), help="folder of trials, judges and figures"
    )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Try what is missing, write `gate.json`; 0 when every bar is met, 1 when not, 130 on Ctrl-C."""
    made = parser()
    given = made.parse_args(arguments)
    for name, least in (("candidates", 1), ("trained", 0), ("chats", 50), ("answers", 2), ("prompts", 1)):
        if getattr(given, name) < least:
            made.error(f"--{name} must be at least {least}")
    console = Console()
    desk, config = DeskOptions(given.chats, given.answers), GateConfig(prompts=given.prompts)
    started = time.monotonic()
    try:
        trials = try_all(given.out, given.candidates, given.trained, given.seeds, desk, config, console)
    except KeyboardInterrupt:
        console.print("stopped; what was tried stays and is not tried again")
        return 130
    found = GateFigures(
        kinds=figures(trials),
        options=options_of(desk, config),
        seeds=given.seeds,
        seconds=time.monotonic() - started,
    )
    write_json(given.out / "gate.json", found)
    print_figures(found.kinds, console)
    console.print(f"figures: {given.out / 'gate.json'}", highlight=False, soft_wrap=True)
    return 0 if all(kind.met for kind in found.kinds) else 1


def try_all(
    out: Path,
    candidates: int,
    trained: int,
    seeds: Sequence[int],
    options: DeskOptions,
    config: GateConfig,
    console: Console,
) -> list[Trial]:
    """Every planned trial, those of earlier calls among them; a seed with nothing left to try costs nothing."""
    out.mkdir(parents=True, exist_ok=True)
    trials = Trials(out / "trials.jsonl", options_of(options, config))
    wanted = [(seed, kind, n) for seed, n in planned(candidates, seeds) for kind in GAINS]
    wanted += [(seed, TRAINED, n) for seed, n in planned(trained, seeds)]
    model = load_policy(weights_dir())
    started = time.monotonic()
    for position, seed in enumerate(seeds, start=1):
        todo = [(kind, n) for s, kind, n in wanted if s == seed and (s, kind, n) not in trials.done]
        if not todo:
            continue
        folder = out / f"seed-{seed}"
        desk = open_desk(model, seed, options, config, folder / "judge")
        knows = f"quality {desk.judge.quality.mean:.2f}, {desk.judge.labels} labels" if desk.judge else "no labels"
        say = f"seed {seed} ({position}/{len(seeds)}), {time.monotonic() - started:.0f} s: "
        console.print(f"{say}judge trained, {knows}", highlight=False)
        try_candidates(model, desk, seed, todo, trials, config, folder)
        tried = trials.of(seed)
        counts = ", ".join(
            f"{sum(t.accepted for t in tried if t.kind == kind)}/{sum(t.kind == kind for t in tried)} {kind}"
            for kind in BARS
        )
        say = f"seed {seed} ({position}/{len(seeds)}), {time.monotonic() - started:.0f} s: "
        console.print(f"{say}accepted {counts}", highlight=False)
    return [trials.done[which] for which in wanted]


def print_figures(kinds: Sequence[KindFigures], console: Console) -> None:
    """A plain table."""
    table = Table(title="Candidates that the gate ships", title_justify="left", box=None)
    for name in ("candidate", "tried", "accepted [95%]", "bar", "true", "judged win rate", "met"):
        table.add_column(name)
    for kind in kinds:
        low, high = kind.bar
        table.add_row(
            kind.kind,
            str(kind.candidates),
            percent(kind.accepted),
            f"≥ {low:.0%}" if low else f"≤ {high:.0%}",
            f"{kind.true_win_rate:.3f}",
            f"{kind.win_rate:.3f} ± {kind.spread:.3f}",
            "yes" if kind.met else "no",
        )
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
