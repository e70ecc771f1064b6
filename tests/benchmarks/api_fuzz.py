"""The API under more than ten thousand requests made from its own OpenAPI document, right ones and wrong ones.

    python -m tests.benchmarks.api_fuzz [--cases 550] [--jobs 2] [--out build/benchmarks/api_fuzz.json]

The service runs in process over a fake engine and SQLite, and the operations are shared out among a few processes. A
quarter of the cases break the document's schema; of the others most speak of chats, feedback and policies that are
there, so that the share of 2xx says something. Counted are answers of 500, or of any 5xx that the document does not
name, error bodies that are not of the documented type, and whatever else contradicts the document. The exit status is 0
when there is none of these.
"""

import argparse
import json
import logging
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from tests.api_fuzz import RunningApp, Tally, fuzz, report


def some(cases: int, first: int, step: int) -> dict[str, Tally]:
    """Every `step`th operation, on a service of its own."""
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder, RunningApp(Path(folder)) as app:
        return fuzz(app, cases, part=slice(first, None, step))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=550, help="per operation")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/api_fuzz.json"))
    options = parser.parse_args()
    begun = time.monotonic()
    tallies: dict[str, Tally] = {}
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        for part in pool.map(partial(some, options.cases, step=options.jobs), range(options.jobs)):
            tallies |= part
    found = {"seconds": round(time.monotonic() - begun, 1), **report(tallies)}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=2) + "\n")
    for label, figures in found["operations"].items():
        print(f"{figures['cases']:6} {figures['share_2xx']:6.1%}  {label}")
    bad = ("undocumented_5xx", "untyped_bodies", "contract_violations")
    print(json.dumps({name: found[name] for name in ("cases", "seconds", *bad)}))
    return int(any(found[name] for name in bad))


if __name__ == "__main__":
    sys.exit(main())
