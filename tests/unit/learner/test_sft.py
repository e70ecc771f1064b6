from pathlib import Path

import pytest
import torch
from tests.learner_models import demo, make_base, snapshot

from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.model.lora import LoraConfig
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.sft import ADAPTER, NoDemonstrations, SftConfig, answer_loss, demo_rows, mean_loss, train_sft

LAST_WORDS = ("late", "good", "bad", "now")
DEMOS = [demo(n, f"where is my order {w}", "sorry the refund is now") for n, w in enumerate(LAST_WORDS)]
CONFIG = SftConfig(lora=LoraConfig(4, 8), epochs=25, learning_rate=1e-2)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PolicyModel:
    return load_policy(make_base(tmp_path_factory.mktemp("base"), scale=1.0))


def test_demonstrations_become_likelier_and_the_folder_says_so_too(model: PolicyModel, tmp_path: Path) -> None:
    folder, report = train_sft(model, None, snapshot(demos=DEMOS), CONFIG, tmp_path / "sft")
    assert report.loss_after < 0.5 * report.loss_before
    assert report.demonstrations == 4
    model.load("again", folder)
    with model.using("again"):
        rows = demo_rows(snapshot(demos=DEMOS), model, 128)
        assert mean_loss(model, rows, 512) == pytest.approx(report.loss_after, abs=1e-5)


def test_a_later_version_starts_from_its_parents_weights_and_rank(model: PolicyModel, tmp_path: Path) -> None:
    parent, first = train_sft(model, None, snapshot(demos=DEMOS), CONFIG, tmp_path / "first")
    other = SftConfig(lora=LoraConfig(16, 32), epochs=1, learning_rate=1e-4)
    _, second = train_sft(model, parent, snapshot(demos=DEMOS), other, tmp_path / "second")
    assert second.loss_before == pytest.approx(first.loss_after, abs=1e-5)
    assert model.parameters(ADAPTER)[0].shape[0] == 4


def test_only_answer_tokens_count(model: PolicyModel) -> None:
    rows = demo_rows(snapshot(demos=DEMOS[:1]), model, 128)
    with model.using(), torch.no_grad():
        logits = model.base(torch.tensor([rows[0].prompt + rows[0].answer])).logits[0].log_softmax(-1)
        start = len(rows[0].prompt)
        expected = -sum(logits[start + n - 1, t] for n, t in enumerate(rows[0].answer)) / len(rows[0].answer)
        assert answer_loss(model, rows).item() == pytest.approx(float(expected), abs=1e-5)


def test_training_stops_at_the_best_epoch_on_the_held_out_slice(model: PolicyModel, tmp_path: Path) -> None:
    words = "yes no please sorry thanks rude order late refund where is my the now good bad".split()
    generator = torch.Generator().manual_seed(0)
    noise = [
        demo(n, f"order {n}", " ".join(words[i] for i in torch.randint(len(words), (4,), generator=generator)))
        for n in range(20)
    ]
    config = SftConfig(lora=LoraConfig(8, 64), epochs=30, learning_rate=2e-2, held_out=0.4)
    folder, report = train_sft(model, None, snapshot(demos=noise), config, tmp_path / "sft")
    assert report.epochs_run < 30
    assert report.held_out_before is not None
    assert report.held_out_after is not None
    assert report.held_out_after <= report.held_out_before
    assert folder.is_dir()


def test_the_same_seed_gives_the_same_adapter(model: PolicyModel, tmp_path: Path) -> None:
    files = []
    for n in range(2):
        folder, _ = train_sft(model, None, snapshot(demos=DEMOS), CONFIG, tmp_path / str(n))
        files.append((folder / "adapter_model.safetensors").read_bytes())
    assert files[0] == files[1]


def test_repeats_count_once_and_none_at_all_is_an_error(model: PolicyModel, tmp_path: Path) -> None:
    twice = snapshot(demos=[DEMOS[0], demo(9, "where is my order late", "sorry the refund is now"), DEMOS[1]])
    assert len(demo_rows(twice, model, 128)) == 2
    with pytest.raises(NoDemonstrations):
        train_sft(model, None, snapshot(), CONFIG, tmp_path / "sft")
