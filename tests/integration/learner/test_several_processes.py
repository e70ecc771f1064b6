"""Two processes on loopback, started by torchrun: what they train together is what one trains alone."""

import asyncio
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from tests.learner_models import ARCHITECTURES, make_base, one_thread_inside_operations
from tests.learner_together import KILLED_AT, TORCHRUN, TRAINED, on_loopback, torchrun, train_all
from tests.processes import descendants, end, is_alive
from tests.tiny_model import make_model
from tests.waiting import eventually

from thumbwheel_learner.distributed.world import ALONE

HERE = "tests.learner_together"
NEAR = 1e-5
"""Sums are added in another order; the updates are of the order of 1e-2."""


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bases")
    for name in ARCHITECTURES:
        make_base(folder / name, architecture=name, scale=1.0)
    return folder


@pytest.fixture(scope="module")
def trained(bases: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders alone, data and shard, each with every architecture."""
    out = tmp_path_factory.mktemp("trained")
    ended = torchrun(HERE, "every", str(bases), str(out))
    assert ended.returncode == 0, ended.stderr[-4000:]
    with one_thread_inside_operations():
        for name in ARCHITECTURES:
            train_all(bases / name, out / "alone" / name, ALONE)
    return out


def said(folder: Path, architecture: str, rank: int) -> dict[str, Any]:
    return json.loads((folder / f"{architecture}-said-{rank}.json").read_text())


def furthest(one: Path, other: Path) -> float:
    tensors, others = load_file(one), load_file(other)
    assert tensors.keys() == others.keys()
    return max(float((tensor - others[name]).abs().max()) for name, tensor in tensors.items())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("how", ["data", "shard"])
def test_two_processes_take_the_steps_that_one_takes(trained: Path, how: str, architecture: str) -> None:
    alone, both = trained / "alone" / architecture, trained / how / architecture
    for name in TRAINED:
        file = Path(name) / "adapter_model.safetensors"
        b = [tensor for key, tensor in load_file(alone / file).items() if "lora_B" in key]
        assert max(float(tensor.abs().max()) for tensor in b) > 100 * NEAR, "B starts at zero, and was trained"
        assert furthest(alone / file, both / file) < NEAR, name
    assert furthest(alone / "reward" / "heads.safetensors", both / "reward" / "heads.safetensors") < NEAR
    one = said(trained / "alone", architecture, 0)
    for rank in (0, 1):
        mine = said(trained / how, architecture, rank)
        for key in ("train_loss", "temperature"):
            assert mine["reward"][key] == pytest.approx(one["reward"][key], abs=NEAR)
        [step], [expected] = mine["ppo"]["history"], one["ppo"]["history"]
        for key in ("kl_base", "score", "policy_loss", "value_loss", "step_kl", "grad_norm", "minibatches"):
            assert step[key] == pytest.approx(expected[key], abs=NEAR, rel=1e-4), key


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_all_processes_end_with_the_same_bytes_and_those_that_share_the_base_with_half_of_it(
    trained: Path, architecture: str
) -> None:
    whole = said(trained / "alone", architecture, 0)["held"]["block_weights"]
    for how in ("data", "shard"):
        first, second = (said(trained / how, architecture, rank)["held"] for rank in (0, 1))
        assert first["digest"] == second["digest"]
        held = [first["block_weights"], second["block_weights"]]
        assert held == [whole, whole] if how == "data" else sum(held) == whole and max(held) < 0.51 * whole


def test_a_killed_process_ends_the_others_and_the_run_goes_on_where_it_was(bases: Path, tmp_path: Path) -> None:
    untouched, killed = tmp_path / "untouched", tmp_path / "killed"
    untouched.mkdir()
    killed.mkdir()
    (untouched / "died").touch()
    whole = torchrun(HERE, "killed", str(bases), str(untouched))
    assert whole.returncode == 0, whole.stderr[-4000:]
    ended = torchrun(HERE, "killed", str(bases), str(killed))
    assert ended.returncode != 0
    # Who tells the first process is a race: the broken connection (`GroupBroken`), or torchrun, which stops it.
    assert "GroupBroken: another process of the group is gone" in ended.stderr or "closing signal" in ended.stderr
    assert "Signal 9 (SIGKILL) received by PID" in ended.stderr
    assert not (killed / "llama" / "ppo").exists()
    again = torchrun(HERE, "killed", str(bases), str(killed))
    assert again.returncode == 0, again.stderr[-4000:]
    name = Path("llama") / "ppo" / "adapter_model.safetensors"
    assert (killed / name).read_bytes() == (untouched / name).read_bytes()
    steps = [(folder / "steps-0").read_text().splitlines() for folder in (untouched, killed)]
    assert steps[1] == steps[0][-len(steps[1]) :]
    assert len(steps[1]) <= len(steps[0]) - KILLED_AT + 1, "no step that was kept is taken again"


@pytest.mark.parametrize("shard", ["no", "yes"])
def test_a_whole_run_is_trained_together_from_feedback_to_a_signed_artifact(tmp_path: Path, shard: str) -> None:
    base = make_model(tmp_path / "base", hidden=64)
    ended = torchrun(HERE, "run", str(base), str(tmp_path / "both"), THUMBWHEEL_SHARD_BASE=shard)
    assert ended.returncode == 0, ended.stderr[-4000:]
    assert "training beside the first of 2 processes, as number 2" in ended.stderr
    state, reason, detail = json.loads((tmp_path / "both" / "row.json").read_text())
    assert state in ("published", "rejected"), (reason, ended.stderr[-4000:])
    assert set(detail) >= {"reward", "sft", "ppo", "gate"}
    assert detail["ppo"]["iterations"] == 2
    assert detail["sft"]["loss_after"] < detail["sft"]["loss_before"]


def test_the_learner_outlives_a_process_beside_it_and_all_end_when_it_is_told_to(bases: Path, tmp_path: Path) -> None:
    """No service is there: what trains is shown above, here it is who starts, who is started again, and who ends."""
    log, data = tmp_path / "log", tmp_path / "data"
    data.mkdir()
    (data / "admin.key").write_text("key")
    settings = {"MODEL": str(bases / "llama"), "DATA": str(data), "URL": "http://127.0.0.1:9"}
    environment = on_loopback({f"THUMBWHEEL_{name}": value for name, value in settings.items()})
    command = [*TORCHRUN, "--max-restarts", "1", "-m", "thumbwheel_learner"]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment)
        try:
            asyncio.run(eventually(lambda: both_are_up(log, 1), 120))
            [beside] = [pid for pid in descendants(process.pid) if rank_of(pid) == "1"]
            os.kill(beside, signal.SIGKILL)
            asyncio.run(eventually(lambda: both_are_up(log, 2), 120))
            processes = descendants(process.pid)
        finally:
            end(process, signal.SIGTERM)
    assert log.read_text().count("the learner has stopped") == 2
    assert "a process that trained beside this one was lost" in log.read_text()
    assert not [pid for pid in processes if is_alive(pid)]


def both_are_up(log: Path, times: int) -> bool:
    said = log.read_text()
    return min(said.count("learning from embedded"), said.count("training beside the first")) == times


def rank_of(pid: int) -> str | None:
    variables = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return next((v.removeprefix("RANK=") for v in variables if v.startswith("RANK=")), None)
