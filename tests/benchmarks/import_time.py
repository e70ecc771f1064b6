"""How long `from thumbwheel import Client, AsyncClient` takes in a fresh environment that holds the base install alone.

    .venv/bin/python tests/benchmarks/import_time.py [--runs 15]

Each run is a new process with compiled files in place (the first one, which compiles them, is reported apart). Figures
go to build/benchmarks/import_time.json; the bar is 0.3 s.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "build" / "benchmarks" / "import_time.json"
BAR_SECONDS = 0.3
PROGRAM = """\
import sys, time
started = time.perf_counter()
from thumbwheel import AsyncClient, Client
print(time.perf_counter() - started, int("torch" in sys.modules))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-compile", str(ROOT)], check=True)
        first, *warm = [measure(python) for _ in range(runs + 1)]
    figures = {
        "seconds": {"median": statistics.median(warm), "max": max(warm), "first": first},
        "runs": runs,
        "bar_seconds": BAR_SECONDS,
        "met": statistics.median(warm) < BAR_SECONDS,
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(figures, indent=2) + "\n")
    verdict = "met" if figures["met"] else "MISSED"
    print(f"from thumbwheel import AsyncClient, Client: median {statistics.median(warm):.3f} s over {runs} processes,")
    print(f"max {max(warm):.3f} s, first (compiling) {first:.3f} s; bar {BAR_SECONDS} s {verdict}; figures in {OUT}")
    return 0 if figures["met"] else 1


def measure(python: Path) -> float:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [python, "-c", PROGRAM]
    told = subprocess.run(command, check=True, capture_output=True, text=True, cwd=python.parent, env=clean)
    seconds, torch = told.stdout.split()
    assert torch == "0", "torch was imported"
    return float(seconds)


if __name__ == "__main__":
    raise SystemExit(main())
