import json
from pathlib import Path

import pytest

from thumbwheel_demo.experiments.token_credit.__main__ import main


def test_the_experiment_runs_tiny_and_reads_what_it_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = ["--seeds", "1", "--chats", "120", "--iterations", "1", "--prompts", "10", "--out", str(tmp_path)]
    assert main(tiny) == 0
    none, half = json.loads((tmp_path / "token_credit.json").read_text())
    assert (none["share"], half["share"]) == (0.0, 0.5)
    assert none["over_none"]["mean"] == 0.0
    assert half["reward"] == none["reward"], "the first iteration samples from the same policy"
    assert half["kl"] == none["kl"] == pytest.approx(0.0, abs=1e-6)
    assert 0.0 <= half["satisfied"]["mean"] <= 1.0
    adapters = [tmp_path / "seed-1" / f"credit-{share}" / "adapter/adapter_model.safetensors" for share in ("0", "0.5")]
    written = [file.read_bytes() for file in adapters]
    assert written[0] != written[1]
    for file in adapters:
        file.unlink()
    capsys.readouterr()
    assert main(tiny) == 0
    assert not any(file.exists() for file in adapters), "nothing was trained again"
    assert json.loads((tmp_path / "token_credit.json").read_text()) == [none, half]
