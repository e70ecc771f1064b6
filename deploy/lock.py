"""Resolve requirements/cpu.lock: `python3 deploy/lock.py [--upgrade] [resolver options]`.

Versions that the lock already names are kept unless `--upgrade` or a changed requirement moves them, so that a new
dependency does not change two hundred others. The resolver (uv) lives in a throwaway environment; only the lock stays.
"""

import os
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = "requirements/cpu.lock"
RESOLVER = "uv==0.13.8"
EXTRAS = ("service", "learner", "cpu", "demo", "export", "test")
HEADER = """\
# The CPU environment, exact and with hashes: Linux on x86-64 and aarch64, Python 3.11 to 3.13.
# Written by `make lock` from pyproject.toml, cpu.in and excluded.txt; installed with --no-deps after torch.txt.
"""
MACHINES = ("aarch64", "x86_64")


def main() -> int:
    """Write the lock; returns the resolver's exit status."""
    with tempfile.TemporaryDirectory() as scratch:
        venv.create(scratch, with_pip=True)
        python = Path(scratch) / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", RESOLVER], check=True)
        status = subprocess.run(
            [python.with_name("uv"), "pip", "compile", "pyproject.toml", "requirements/cpu.in"]
            + [part for extra in EXTRAS for part in ("--extra", extra)]
            + ["--excludes", "requirements/excluded.txt", "--universal", "--python-version", "3.11"]
            + ["--generate-hashes", "--no-header", "--quiet", "--output-file", LOCK, *sys.argv[1:]],
            cwd=ROOT,
            env={**os.environ, "SSL_CERT_FILE": os.environ.get("PIP_CERT", os.environ.get("SSL_CERT_FILE", ""))},
            check=False,
        ).returncode
    if status == 0:
        lock = ROOT / LOCK
        lock.write_text(HEADER + without_common_markers(lock.read_text()))
        print(f"{LOCK}: {sum(1 for line in lock.read_text().splitlines() if '==' in line[:80])} packages")
    return status


def without_common_markers(lock: str) -> str:
    """Drop the markers that only repeat which machines the lock is for."""
    common = " or ".join(f"(platform_machine == '{machine}' and sys_platform == 'linux')" for machine in MACHINES)
    lock = re.sub(r"^#.*\n", "", lock, flags=re.MULTILINE)
    return lock.replace(f" ; {common} \\", " \\")


if __name__ == "__main__":
    sys.exit(main())
