"""Real human preferences through the same pipe: import, reward refresh, held-out figures beside baselines.

    python tests/benchmarks/human_pairs.py [--model DIR] [--out build/human_pairs.json]

Reads ../shared/data/human_pairs.jsonl.gz (1,500 pairs of anthropics/hh-rlhf; some texts are offensive by design), keeps
the last fifth of them back, imports the rest into a fresh service with `thumbwheel import`, lets the learner refresh
its reward model, and has `thumbwheel evaluate` score what was kept back, with the baselines of the same call.
"""

import argparse
import asyncio
import gzip
import json
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console

from thumbwheel_demo.report.record import write_json
from thumbwheel_demo.run.desk import Desk, DeskPlan
from thumbwheel_demo.run.stages import Stopwatch
from thumbwheel_demo.run.wheel import Wheel

PAIRS = Path("../shared/data/human_pairs.jsonl.gz")
HELD_OUT = 0.2
SETTINGS = {
    "THUMBWHEEL_LEARN_EVERY": "0",
    "THUMBWHEEL_LEARN_AFTER_LABELS": "0",
    "THUMBWHEEL_REPORT_EVERY": "1",
}


def split(pairs: Path, folder: Path) -> tuple[Path, Path, int, int]:
    """Write `train.jsonl` and `held_out.jsonl`, in the file's own order; returns both with their sizes."""
    with gzip.open(pairs, "rt", encoding="utf-8") as file:
        lines = [line for line in file if line.strip()]
    cut = round(len(lines) * (1 - HELD_OUT))
    folder.mkdir(parents=True, exist_ok=True)
    train, held_out = folder / "train.jsonl", folder / "held_out.jsonl"
    train.write_text("".join(lines[:cut]), encoding="utf-8")
    held_out.write_text("".join(lines[cut:]), encoding="utf-8")
    return train, held_out, cut, len(lines) - cut


async def thumbwheel(desk: Desk, *arguments: str) -> str:
    """Run a command of the project for the desk; what it prints. Raises `SystemExit` when it fails."""
    key = (desk.plan.data / "admin.key").read_text(encoding="utf-8").strip()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "thumbwheel.cli", *arguments,
        env={**desk.environment(), "THUMBWHEEL_URL": desk.url, "THUMBWHEEL_API_KEY": key},
        stdout=subprocess.PIPE,
    )  # fmt: skip
    printed, _ = await process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"thumbwheel {arguments[0]} ended with status {process.returncode}")
    return printed.decode()


async def measure(pairs: Path, model: str | None, out: Path) -> None:
    """The whole benchmark."""
    folder = out.parent / out.stem
    watch = Stopwatch(Console())
    train, held_out, n_train, n_held_out = split(pairs, folder)
    scored_with = ["--data", str(folder / "data"), "--json", *(["--model", model] if model else [])]
    async with Desk(DeskPlan(folder=folder, model=model, environment=SETTINGS)) as desk:
        with watch.phase("start service and learner"):
            await desk.ready(lambda s: watch.now(f"{s:.0f} s"))
        async with desk.client() as operator:
            started = time.monotonic()
            with watch.phase("import"):
                print(await thumbwheel(desk, "import", str(train)))
            wheel = Wheel(
                operator, seconds=lambda: time.monotonic() - started, in_flight=lambda: 0,
                now=watch.now, check=desk.check, patience_s=4 * 3600,
            )  # fmt: skip
            with watch.phase("reward model"):
                await wheel.caught_up(n_train)
                outcome = await wheel.learn(1, ("reward",))
            with watch.phase("evaluate"):
                figures = json.loads(await thumbwheel(desk, "evaluate", str(held_out), *scored_with))
    found = {
        "model": Path(model).name if model else "demo policy",
        "pairs": {"imported": n_train, "held_out": n_held_out},
        "evaluate": figures,
        "training": outcome.reward_model,
        "phases": {phase.name: phase.seconds for phase in watch.phases},
    }
    write_json(out, found)
    print(json.dumps(found["evaluate"], indent=2))
    print(f"figures: {out}")


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, default=PAIRS)
    parser.add_argument("--model", help="base model of the reward model (default: the demo policy)")
    parser.add_argument("--out", type=Path, default=Path("build/human_pairs.json"))
    options = parser.parse_args()
    if not options.pairs.exists():
        print(f"{options.pairs} is not here: nothing measured")
        return
    asyncio.run(measure(options.pairs, options.model, options.out))


if __name__ == "__main__":
    main()
