"""The doctor tries a model with the real libraries, in a process of its own."""

from pathlib import Path

import pytest
from tests.tiny_model import make_model

from thumbwheel.doctor.reach import check_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"), hidden=32, layers=1)


def test_a_model_that_loads_is_named_with_its_kind(model: Path) -> None:
    finding = check_model(str(model))
    assert finding.state == "ok"
    assert "LlamaForCausalLM" in finding.found


def test_a_model_that_does_not_load_fails_with_the_library_s_reason(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "no-such-model"}')
    finding = check_model(str(tmp_path))
    assert finding.state == "fail"
    assert "does not load" in finding.found
    assert "no-such-model" in finding.found
