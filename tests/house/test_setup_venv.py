"""The set-up script: numbered steps, a failure that says what to do, and going on from there."""

import importlib.util
import json
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as loaded from a checkout in `tmp_path`, whose environment exists already."""
    deploy = tmp_path / "deploy"
    deploy.mkdir()
    (deploy / "setup_venv.py").write_text((ROOT / "deploy" / "setup_venv.py").read_text())
    (tmp_path / "requirements").mkdir()
    for name, text in (("torch.txt", "torch==1+cpu\n"), ("cpu.lock", "# none\na==1 \\\n    --hash=x\nb==2 \\\n")):
        (tmp_path / "requirements" / name).write_text(text)
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    spec = importlib.util.spec_from_file_location("setup_venv_under_test", deploy / "setup_venv.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


class Steps:
    """Three steps that note when they run; the one called `broken` fails."""

    def __init__(self, script: ModuleType) -> None:
        self.script, self.ran, self.broken, self.inputs = (
            script,
            list[str](),
            "",
            {"one": "1", "two": "2", "three": "3"},
        )

    def __call__(self) -> list[object]:
        return [self.script.Step(name, self._runner(name), (text,)) for name, text in self.inputs.items()]

    def _runner(self, name: str) -> Callable[[object], None]:
        def run(_: object) -> None:
            if name == self.broken:
                raise self.script.StepFailed("it said no", "Ask again.")
            self.ran.append(name)

        return run


@pytest.fixture
def steps(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Steps:
    steps = Steps(script)
    monkeypatch.setattr(script, "all_steps", steps)
    return steps


def test_a_second_run_does_nothing_and_says_nothing(
    script: ModuleType, steps: Steps, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main() == 0
    assert "[3/3] three: done" in capsys.readouterr().out
    steps.ran.clear()
    assert script.main() == 0
    assert steps.ran == []
    assert capsys.readouterr().out == ""


def test_a_failed_step_is_named_with_what_to_do_and_the_next_run_goes_on_with_it(
    script: ModuleType, steps: Steps, capsys: pytest.CaptureFixture[str]
) -> None:
    steps.broken = "two"
    assert script.main() == 1
    told = capsys.readouterr()
    assert "[2/3] two: FAILED" in told.out
    assert "it said no" in told.err
    assert "stopped at step 2, two. Ask again." in told.err
    assert steps.ran == ["one"]
    steps.broken = ""
    assert script.main() == 0
    assert steps.ran == ["one", "two", "three"]


def test_a_changed_input_runs_its_step_and_all_that_follow(script: ModuleType, steps: Steps) -> None:
    script.main()
    steps.ran.clear()
    steps.inputs["two"] = "another"
    script.main()
    assert steps.ran == ["two", "three"]


def test_a_change_taken_back_after_a_failure_runs_again(script: ModuleType, steps: Steps) -> None:
    script.main()
    steps.inputs["two"], steps.broken = "another", "two"
    assert script.main() == 1
    steps.inputs["two"], steps.broken = "2", ""
    steps.ran.clear()
    assert script.main() == 0
    assert steps.ran == ["two", "three"]


def test_an_interrupt_keeps_what_was_done(script: ModuleType, steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    one, _, three = steps()
    monkeypatch.setattr(script, "all_steps", lambda: [one, script.Step("two", interrupted, ("2",)), three])
    assert script.main() == 130
    monkeypatch.setattr(script, "all_steps", steps)
    assert script.main() == 0
    assert steps.ran == ["one", "two", "three"]


def test_a_lost_environment_is_made_again(script: ModuleType, steps: Steps) -> None:
    script.main()
    (script.VENV / "bin" / "python").unlink()
    steps.ran.clear()
    script.main()
    assert steps.ran == ["one", "two", "three"]


def test_a_torn_stamp_is_no_obstacle(script: ModuleType, steps: Steps) -> None:
    script.STAMP.write_text('{"one": ')
    assert script.main() == 0
    assert set(json.loads(script.STAMP.read_text())) == {"one", "two", "three"}


def test_pip_is_silent_and_its_failure_is_shown_without_the_noise(
    script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    venv.create(script.VENV, clear=True, symlinks=True, with_pip=True)
    line = script.Line("[1/1] x")
    with pytest.raises(script.StepFailed) as failure:
        script.pip(line, "install", "--no-index", "--find-links", str(script.ROOT), "no-such-package-of-ours")
    assert "No matching distribution" in str(failure.value)
    assert "Looking in" not in str(failure.value)
    assert "setup.log" in failure.value.mend
    assert "No matching" not in capsys.readouterr().out
    assert "no-such-package-of-ours" in script.LOG.read_text()


def test_torch_falls_back_to_pytorch_s_own_index(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, ...]] = []

    def pip(_: object, *arguments: str, total: int = 0) -> None:
        calls.append(arguments)
        if "--index-url" not in arguments:
            raise script.StepFailed("not here", "")

    monkeypatch.setattr(script, "pip", pip)
    script.install_torch(script.Line("x"))
    assert ["--index-url" in call for call in calls] == [False, True]
    assert script.TORCH_CPU_INDEX in calls[1]


def test_another_system_is_told_what_works_there(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script.platform, "system", lambda: "Darwin")
    with pytest.raises(script.StepFailed, match="Darwin") as failure:
        script.check_machine()
    assert "pip install" in failure.value.mend


def test_the_lock_is_counted(script: ModuleType) -> None:
    assert script.locked_packages() == 2
