"""Kills under load, and nothing acknowledged lost or doubled: `python -m tests.faults --road sqlite --kills 100`.

Service, learner, a process that publishes versions and, with `--road kafka`, a real Apache Kafka and a real PostgreSQL
die by SIGKILL, half of the times at random moments and half at failpoints, while people chat and give feedback. Then
the people's own books are compared with the learner's store and with the snapshot it would train on, and what was
published with what the service serves. Figures go to build/faults/; an interrupted run goes on with the same command
(`--fresh` begins anew). Exit status 0: nothing lost, nothing doubled.
"""

import argparse
import asyncio
import json
import shutil
import sys
from pathlib import Path

from tests.faults.clock import library
from tests.faults.drive import drive
from tests.faults.stack import Run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--road", choices=["sqlite", "kafka"], default="sqlite")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--engine", choices=["fake", "vllm"], default="fake")
    parser.add_argument("--clock", action="store_true", help="the clock jumps, by up to ten days (needs libfaketime)")
    parser.add_argument("--out", type=Path, default=Path("build/faults"))
    parser.add_argument("--fresh", action="store_true", help="forget an interrupted run")
    options = parser.parse_args()
    if options.clock and library() is None:
        parser.error("--clock needs libfaketime: apt-get install libfaketime")
    name = f"{options.road}-{options.engine}-{options.seed}{'-clock' if options.clock else ''}"
    folder = options.out.absolute() / name
    if options.fresh:
        shutil.rmtree(folder, ignore_errors=True)
    run = Run(
        folder=folder, road=options.road, seed=options.seed, kills=options.kills,
        engine=options.engine, people=options.people, clock=options.clock,
        say=lambda line: print(line, flush=True),
    )  # fmt: skip
    verdict, versions, figures = asyncio.run(drive(run))
    file = options.out / f"{name}.json"
    file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=2))
    shutil.rmtree(folder / "kafka", ignore_errors=True)
    print(f"figures: {file}")
    is_clean = verdict.is_clean() and versions.is_clean()
    return 0 if is_clean and not figures["refused"] and not figures["differing"] else 1


if __name__ == "__main__":
    sys.exit(main())
