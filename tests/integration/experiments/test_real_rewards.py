import json
import random
from pathlib import Path

import msgspec
import numpy as np
import pytest
from rich.console import Console
from tests.integration.experiments.real_preferences import sentence, write_preferences
from tests.learner_models import make_base, one_thread_inside_operations

from thumbwheel_demo.experiments.real_rewards import rewards
from thumbwheel_demo.experiments.real_rewards.__main__ import main
from thumbwheel_demo.experiments.real_rewards.frozen_features import LIKELIHOODS, FrozenReader, Reading, read_all
from thumbwheel_demo.experiments.real_rewards.preferences import Question, flat, human_pairs, judged_responses
from thumbwheel_demo.experiments.real_rewards.report import BASELINES, REWARD, Cell, summary, write_table
from thumbwheel_demo.experiments.real_rewards.surface import NAMES, surface
from thumbwheel_demo.experiments.real_rewards.token_embeddings import TokenEmbeddings, last_turn
from thumbwheel_learner.reward.baselines import bigrams_in


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_preferences(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"), architecture="gemma3")


@pytest.fixture(scope="module")
def made(data: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    with one_thread_inside_operations():
        main(["--model", str(model), "--data", str(data), "--seeds", "1,2", "--no-states", "--out", str(out)])
    return out


def test_a_tiny_run_measures_every_arm_on_both_sets(made: Path) -> None:
    found = json.loads((made / "real_rewards.json").read_text())
    assert found["seeds"] == [1, 2]
    assert [d["data"] for d in found["data"]] == ["human_pairs", "judged_responses"]
    for each in found["data"]:
        assert set(each["accuracy"]) == {*BASELINES, REWARD}
        assert each["accuracy"][REWARD]["mean"] > 0.9
        assert each["accuracy"]["longer wins"]["mean"] + each["accuracy"]["shorter wins"]["mean"] == pytest.approx(1)
        assert each["clusters"] == 30
    assert "<svg" in (made / "real_rewards.svg").read_text()
    assert "best baseline" in (made / "real_rewards.txt").read_text()


def test_finished_cells_are_not_run_again(
    made: Path, data: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {file: file.stat().st_mtime_ns for file in made.glob("*-[12].json")}
    main(["--model", str(model), "--data", str(data), "--seeds", "1,2", "--no-states", "--out", str(made)])
    assert len(before) == 4
    assert capsys.readouterr().out.count("already there") == 4
    assert before == {file: file.stat().st_mtime_ns for file in made.glob("*-[12].json")}


def test_files_become_questions_with_pairs_inside(data: Path) -> None:
    pair, judged = human_pairs(data)[3], judged_responses(data)[3]
    assert pair.prompt.endswith("please now\n\nAssistant:")
    assert pair.cluster == "\n\nHuman: where is order 3"
    assert pair.answers[0].startswith("thanks")
    assert judged.pairs == ((0, 1), (0, 2))
    both = flat([pair, judged])
    assert both.pairs.tolist() == [[0, 1], [2, 3], [2, 4]]
    assert both.clusters == [pair.cluster, judged.cluster, judged.cluster]


def test_folds_and_inner_validation_share_no_cluster(data: Path) -> None:
    clusters = flat(judged_responses(data)).clusters
    tested: list[int] = []
    for split in rewards.splits(clusters, 1):
        sides = [{clusters[i] for i in part} for part in (split.fit, split.check, split.test)]
        assert not sides[0] & sides[1]
        assert not (sides[0] | sides[1]) & sides[2]
        assert sorted([*split.fit, *split.check]) == sorted(split.train)
        tested += split.test.tolist()
    assert sorted(tested) == list(range(len(clusters)))


def test_bigrams_that_a_reward_reads_never_saw_the_answer_they_score(data: Path) -> None:
    """With labels that are coins, bigrams know by heart what they were fitted on, and nothing of the rest."""
    rng = random.Random(1)
    coins = [Question(str(n), "?", tuple(sentence(rng, f"w{n}{s}") for s in "ab"), ((0, 1),)) for n in range(200)]
    some = flat(coins)
    words = bigrams_in(some.answers)
    stacked = rewards.stacked(some, words, np.arange(200), 10.0)[:, 0]
    fitted = rewards.bigram_scores(words, some.pairs, 10.0)
    assert (fitted[some.pairs[:, 0]] > fitted[some.pairs[:, 1]]).mean() > 0.75
    assert (stacked[some.pairs[:, 0]] > stacked[some.pairs[:, 1]]).mean() < 0.62


def test_components_come_from_the_training_answers_alone() -> None:
    features = np.random.default_rng(0).normal(size=(40, 8))
    changed = features.copy()
    changed[20:] *= 50
    before, after = (rewards.reduced(rewards.Block(f, 3), np.arange(20)) for f in (features, changed))
    assert before.shape == (40, 3)
    assert np.allclose(np.abs(before[:20]), np.abs(after[:20]))


def test_counts_of_the_surface() -> None:
    counts = dict(zip(NAMES, surface(["list two colours"], ["Sorry, I cannot.\n- red\n- two"])[0], strict=True))
    assert counts["items"] == pytest.approx(np.log(3))
    assert counts["refusals"] == pytest.approx(np.log(3))
    assert counts["first person"] == pytest.approx(np.log(2))
    assert counts["ends a sentence"] == 0
    assert all(np.isfinite(surface(["", "x"], ["", " "])).ravel())


def test_rare_words_weigh_more_and_an_answer_near_its_question_is_told_from_another(model: Path) -> None:
    asked = ["\n\nHuman: rude\n\nAssistant: no\n\nHuman: late refund\n\nAssistant:"] * 4
    found = TokenEmbeddings(model).features(asked, ["late refund", "thanks please", "the the the the", ""])
    assert last_turn(asked[0]) == "late refund"
    assert found[0, -1] > found[1, -1]
    assert not found[3, :-1].any()


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="tokenizer"):
        TokenEmbeddings(tmp_path)


def test_reading_answers_side_by_side_is_reading_them_alone(model: Path, tmp_path: Path) -> None:
    reading = Reading(layers=(0, 1, 2), vocabulary=21, questions_per_file=1)
    answers = ("thanks good", "rude bad no the order is late", "yes")
    reader = FrozenReader(model, reading, answers)
    together = reader.read(Question("c", "where is my refund", answers, ()))
    assert together.shape == (3, 3 * 32 + LIKELIHOODS)
    for answer, row in zip(answers, together, strict=True):
        alone = reader.read(Question("c", "where is my refund", (answer,), ()))[0]
        assert np.allclose(alone, row, rtol=0.05, atol=0.05)
    assert (together[:, -LIKELIHOODS:-1] <= 0).all()


def test_what_was_read_is_not_read_again(model: Path, tmp_path: Path) -> None:
    questions = [Question(str(n), "where is", ("yes please", "no"), ()) for n in range(2)]
    reading = Reading(layers=(0, 2), vocabulary=21, questions_per_file=1)
    found = read_all(model, questions, reading, tmp_path)
    files = sorted(tmp_path.glob("*.npz"))
    times = [f.stat().st_mtime_ns for f in files]
    assert np.array_equal(found, read_all(model, questions, reading, tmp_path))
    assert times == [f.stat().st_mtime_ns for f in sorted(tmp_path.glob("*.npz"))]
    assert found.shape[0] == 4
    shallow = msgspec.structs.replace(reading, layers=(0, 1), answer_tokens=1)
    assert read_all(model, questions, shallow, tmp_path).shape == (4, 2 * 32)
    assert len(list(tmp_path.glob("*.npz"))) == 2 * len(files)


def cell(reward_right: float, seed: int = 1) -> Cell:
    """100 pairs; the baselines get 60 right, the reward so many, and it doubts those that it gets wrong."""
    right = np.arange(100) < 100 * reward_right
    base = np.where(np.arange(100)[::-1] < 60, 1.0, -1.0)
    return Cell(
        data="d",
        seed=seed,
        settings={},
        margins={**dict.fromkeys(BASELINES, base.tolist()), REWARD: np.where(right, 1.0, -1.0).tolist()},
        stated=np.where(right, 0.8, 0.2).tolist(),
        disagreement=np.where(right, 0.1, 0.4).tolist(),
        chosen={},
        seconds=1.0,
    )


@pytest.mark.parametrize(("right", "met"), [(0.9, True), (0.6, False)])
def test_the_bars(right: float, met: bool, tmp_path: Path) -> None:
    clusters = [str(n // 2) for n in range(100)]
    lengths = np.where(np.arange(100) % 2, 0.05, 1.0)
    found = summary([cell(right, 1), cell(right, 2)], {"d": clusters}, {"d": lengths})
    figures = found.data[0]
    assert figures.passed["beats the best baseline"] is met
    assert figures.over_best.mean == pytest.approx(right - 0.6)
    assert figures.matched_pairs == 50
    assert figures.auroc.mean == 1.0
    assert figures.over_best_of_resample.mean <= figures.over_best.mean + 1e-9
    write_table(found, tmp_path / "table.txt", Console(quiet=True))
    assert ("beats the best baseline: met" in (tmp_path / "table.txt").read_text()) is met


def test_nothing_to_sum_up_is_refused() -> None:
    with pytest.raises(ValueError, match="no cells"):
        summary([], {}, {})


def test_an_unknown_data_set_is_refused_and_a_missing_one_said(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--model", str(model), "--sets", "nonsense"])
    assert main(["--model", str(model), "--data", str(tmp_path), "--out", str(tmp_path)]) == 0
    assert "nothing measured" in capsys.readouterr().out
