"""A checkpoint that cannot be served is refused before anything heavy is loaded, with what is missing."""

from pathlib import Path

import pytest
from tests.adapters import write_base

from thumbwheel_service.engine.checkpoint import ModelNotFound, resolve_checkpoint


def test_a_folder_with_config_and_weights_is_found(tmp_path: Path) -> None:
    assert resolve_checkpoint(str(write_base(tmp_path / "m"))) == (tmp_path / "m").resolve()


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="no such folder"):
        resolve_checkpoint(str(tmp_path / "nothing"))
    with pytest.raises(ModelNotFound, match=r"config\.json"):
        resolve_checkpoint(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"code could hide here")
    with pytest.raises(ModelNotFound, match="safetensors"):
        resolve_checkpoint(str(tmp_path))


def test_a_hub_that_is_out_of_reach_is_said() -> None:
    with pytest.raises(ModelNotFound, match="the hub did not give it"):
        resolve_checkpoint("nobody/no-such-model")
