"""Exported files, unchanged, train with TRL: the reward, DPO, KTO and SFT trainers on a tiny random model."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.contract.bus.live_service import LiveService
from tests.tiny_model import make_model

from thumbwheel import Client
from thumbwheel.cli import main

FORMATS = ("jsonl", "parquet")
PAIRS = 6


class Exported(NamedTuple):
    """A tiny model, and the files of a service where people judged its answers."""

    model: Path
    folder: Path

    def load(self, what: str, form: str, **options: Any) -> Any:
        import datasets

        loader = "json" if form == "jsonl" else "parquet"
        cache = str(self.folder / "cache")
        return datasets.load_dataset(
            loader, data_files=str(self.folder / f"{what}.{form}"), cache_dir=cache, **options
        )["train"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("trl")
    live = LiveService(folder / "data")
    live.start()
    try:
        judge(live.url)
        for what in ("preferences", "thumbs", "corrections", "turns"):
            for form in FORMATS:
                assert main(["export", what, "--out", str(folder / f"{what}.{form}"), "--url", live.url]) == 0
    finally:
        live.stop()
    return Exported(make_model(folder / "model", hidden=64, layers=1), folder)


def judge(url: str) -> None:
    """A comparison, a thumb and a correction on every answer; only the oldest thumb says whose it is, and why."""
    with Client(url) as client:
        for i in range(PAIRS):
            asked = [{"role": "user", "content": f"Where is order {i}?"}]
            client.turns.create(asked, [f"Order {i} is on its way.", "No idea."], completion_id=f"c{i}")
            client.feedback.comparison(f"c{i}", "this", other_completion_id=f"c{i}", other_choice=1, user="ann")
            who: Any = {"user": "bob", "reasons": ["style"]} if i == 0 else {}
            client.feedback.thumb(f"c{i}", "up" if i % 2 else "down", **who)
            client.feedback.correction(f"c{i}", f"Order {i} arrives on Friday.")


def settings(folder: Path) -> dict[str, Any]:
    """One step on this machine, no reports."""
    return {
        "output_dir": str(folder),
        "max_steps": 1,
        "per_device_train_batch_size": 2,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": "none",
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
        "seed": 1,
    }


@pytest.mark.parametrize("form", FORMATS)
def test_the_reward_trainer_takes_the_preferences(exported: Exported, tmp_path: Path, form: str) -> None:
    import trl

    rows = exported.load("preferences", form)
    assert len(rows) == 2 * PAIRS
    config = trl.RewardConfig(**settings(tmp_path))
    trainer = trl.RewardTrainer(model=str(exported.model), args=config, train_dataset=rows)
    assert len(trainer.train_dataset) == 2 * PAIRS
    assert trainer.train().training_loss > 0


@pytest.mark.parametrize("form", FORMATS)
def test_the_dpo_trainer_takes_the_preferences(exported: Exported, tmp_path: Path, form: str) -> None:
    import trl

    rows = exported.load("preferences", form)
    config = trl.DPOConfig(**settings(tmp_path))
    trainer = trl.DPOTrainer(model=str(exported.model), args=config, train_dataset=rows)
    first = trainer.train_dataset[0]
    answer = rows[0]["chosen"][0]["content"]
    assert answer in trainer.processing_class.decode(first["chosen_ids"])
    assert rows[0]["prompt"][0]["content"] in trainer.processing_class.decode(first["prompt_ids"])
    assert trainer.train().training_loss == pytest.approx(0.693, abs=0.01), "the policy is its own reference at first"


def test_the_kto_trainer_takes_the_thumbs(exported: Exported, tmp_path: Path) -> None:
    import trl

    rows = exported.load("thumbs", "jsonl")
    assert sorted(rows["label"]) == [False] * 3 + [True] * 3
    trainer = trl.KTOTrainer(model=str(exported.model), args=trl.KTOConfig(**settings(tmp_path)), train_dataset=rows)
    assert trainer.train().training_loss > 0


def test_the_sft_trainer_takes_the_corrections(exported: Exported, tmp_path: Path) -> None:
    import trl

    rows = exported.load("corrections", "parquet")
    trainer = trl.SFTTrainer(model=str(exported.model), args=trl.SFTConfig(**settings(tmp_path)), train_dataset=rows)
    assert trainer.train().training_loss > 0


def test_both_formats_load_as_the_same_rows(exported: Exported) -> None:
    for what in ("preferences", "thumbs", "corrections"):
        lines, table = (exported.load(what, form) for form in FORMATS)
        assert lines.to_list() == table.to_list()
        assert lines.features == table.features
    assert len(exported.load("turns", "jsonl")) == len(exported.load("turns", "parquet")) == PAIRS


def test_a_file_that_is_read_piece_by_piece_keeps_its_columns(exported: Exported) -> None:
    rows = exported.load("thumbs", "jsonl", chunksize=1)
    assert [(row["user"], row["reasons"]) for row in rows] == [("", "")] * (PAIRS - 1) + [("bob", "style")]
