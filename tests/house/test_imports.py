"""Who may import whom: import-linter's contracts hold, and would notice if they did not."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("sdk", "service", "learner", "deploy/demo")
HEAVY = {
    "torch", "transformers", "vllm", "litestar", "uvicorn", "sqlmodel", "sqlalchemy", "alembic", "kafka", "psycopg",
    "numpy", "sklearn", "peft", "apscheduler", "matplotlib", "pyarrow", "thumbwheel_service", "thumbwheel_learner",
}  # fmt: skip


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(root / folder) for folder in FOLDERS)}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("checkout")
    shutil.copy(ROOT / "pyproject.toml", root)
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, root / folder, ignore=lambda _, names: [n for n in names if "pycache" in n])
    return root


def test_the_contracts_hold() -> None:
    told = lint(ROOT)
    assert told.returncode == 0, told.stdout


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("sdk/thumbwheel/client.py", "import thumbwheel_service.errors", "The SDK is the floor"),
        ("learner/thumbwheel_learner/consume.py", "import thumbwheel_service.errors", "Service, learner and demo meet"),
        ("deploy/demo/thumbwheel_demo/people.py", "import thumbwheel_learner.errors", "Service, learner and demo meet"),
        ("service/thumbwheel_service/log/relay.py", "import kafka", "Kafka's client only"),
        ("service/thumbwheel_service/turns/service.py", "import vllm", "vLLM and torch in the service"),
        ("service/thumbwheel_service/feedback/routes.py", "import sqlmodel", "Routes touch no tables"),
        ("service/thumbwheel_service/feedback/service.py", "from . import routes", "In each noun of the service"),
        ("service/thumbwheel_service/turns/repository.py", "import litestar", "Tables, the writer and the"),
        ("service/thumbwheel_service/db/tables.py", "import thumbwheel_service.settings", "Only the service's comp"),
        ("learner/thumbwheel_learner/store/tables.py", "import torch", "torch only in the learner"),
        (
            "learner/thumbwheel_learner/dataset/freeze.py",
            "import thumbwheel_learner.runs.run",
            "The learner, from the command",
        ),
        (
            "learner/thumbwheel_learner/ppo/train.py",
            "import thumbwheel_learner.dataset.freeze",
            "The algorithms know no process",
        ),
    ],
)
def test_a_forbidden_import_is_noticed(copy: Path, file: str, line: str, contract: str) -> None:
    source = copy / file
    before = source.read_text()
    source.write_text(f"{before}\n{line}\n")
    told = lint(copy)
    source.write_text(before)
    assert told.returncode != 0
    broken = [text for text in told.stdout.splitlines() if text.endswith("BROKEN") or "BROKEN (" in text]
    assert any(text.startswith(contract) for text in broken), told.stdout


@pytest.mark.parametrize("module", ["thumbwheel", "thumbwheel.cli", "thumbwheel.bus", "thumbwheel.doctor"])
def test_importing_the_sdk_loads_nothing_heavy(module: str) -> None:
    program = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not HEAVY & set(told.stdout.split())
