"""The experiment at a tiny size: answers sampled once, cells read again, figures that say what they should."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from rich.console import Console

from thumbwheel_demo import wording
from thumbwheel_demo.corpus.ways import WayWeights, answer, draw_way
from thumbwheel_demo.experiments.thumbs_reward.__main__ import main
from thumbwheel_demo.experiments.thumbs_reward.answers import Amounts, scenarios_of
from thumbwheel_demo.experiments.thumbs_reward.arms import ARMS, Cell, Said
from thumbwheel_demo.experiments.thumbs_reward.figures import summary
from thumbwheel_demo.experiments.thumbs_reward.show import plot, write_table
from thumbwheel_demo.experiments.thumbs_reward.voters import Desk, Habits, chance_of_up, open_desk
from thumbwheel_demo.satisfaction import judge

AMOUNTS = Amounts(chats=600, moved=20)
HABITS = Habits()


def desk(population: str, seed: int = 1) -> tuple[Desk, dict[str, float]]:
    """Answers from the corpus's writer instead of a policy; and the words of each."""
    import random

    rng = random.Random(0)
    scenarios = scenarios_of(AMOUNTS)["chats"]
    texts = [answer(s, draw_way(WayWeights(), rng), rng) for s in scenarios]
    words = {s.id: float(len(wording.words(t))) for s, t in zip(scenarios, texts, strict=True)}
    made = open_desk(scenarios, texts, [[1]] * len(scenarios), population, HABITS, seed)  # type: ignore[arg-type]
    for thumb, satisfied in zip(made.held_out, made.satisfied, strict=True):
        scenario = next(s for s in scenarios if s.id == thumb.conversation_id)
        assert satisfied == judge(scenario, thumb.answer).satisfied
    return made, words


def test_the_two_sides_share_neither_people_nor_conversations_nor_prompts() -> None:
    made, _ = desk("fair")
    for of in ("user", "conversation_id"):
        assert not {getattr(t, of) for t in made.training.judged} & {getattr(t, of) for t in made.held_out}
    assert not {str(t.messages) for t in made.training.judged} & {str(t.messages) for t in made.held_out}
    assert len(made.held_out) > len(made.training.judged) > 50
    wrong = np.mean([(t.value > 0.5) != s for t, s in zip(made.held_out, made.satisfied, strict=True)])
    assert wrong == pytest.approx(HABITS.noise, abs=0.05)


def test_length_wins_votes_only_of_those_it_impresses() -> None:
    gap: dict[str, float] = {}
    for population in ("fair", "impressed by length"):
        made, words = desk(population)
        long = np.array([words[t.conversation_id] for t in made.held_out])
        ups, good = np.array([t.value for t in made.held_out]), np.array(made.satisfied)
        unhappy = ups[~good & (long > 25)].mean() - ups[~good & (long <= 15)].mean()
        gap[population] = float(unhappy)
    assert abs(gap["fair"]) < 0.12
    assert gap["impressed by length"] > 0.2
    assert chance_of_up(True, 9.0, 0.1, 0.0) == 0.9
    assert chance_of_up(False, 0.0, 0.1, 1.0) == pytest.approx(0.1)


def cell(arm: str, seed: int, *, skill: float, warns: bool, rows: int = 400) -> Cell:
    """A model that knows satisfaction as well as `skill`, whose members differ where it errs, or anywhere."""
    rng = np.random.default_rng(seed)
    satisfied = rng.random(rows) < 0.5
    mean = skill * (2.0 * satisfied - 1) + rng.normal(size=rows)
    wrong = (mean > 0) != satisfied
    spread = np.where(wrong, 2.0, 0.2) if warns else rng.random(rows)
    members = np.stack([mean - spread, mean + spread], axis=1)
    thumbs = np.where(rng.random(rows) < 0.1, ~satisfied, satisfied).astype(float)
    said = Said(
        who=[f"u{n // 4}" for n in range(rows)],
        thumbs=thumbs.tolist(),
        satisfied=satisfied.tolist(),
        tokens=rng.integers(5, 40, size=rows).tolist(),
        members=members.tolist(),
    )
    moved = msgspec.structs.replace(said, thumbs=[])
    return Cell(
        arm=arm, seed=seed, settings={}, temperature=1.0, lapse=0.0, labels=9, held_out=said, moved=moved, seconds=1.0
    )


def test_figures_know_a_good_reward_from_a_bad_one_and_a_warning_from_noise(tmp_path: Path) -> None:
    good = [cell("default", seed, skill=3.0, warns=True) for seed in (1, 2)]
    bad = [cell("length head", seed, skill=0.3, warns=False) for seed in (1, 2)]
    found = summary([*good, *bad])
    default, other = found.arms
    assert default.held_out["auc_of_oracle"].mean > 0.95 > other.held_out["auc_of_oracle"].mean
    assert default.held_out["disagreement_of_scores"].mean > 0.9
    assert other.held_out["disagreement_of_scores"].mean == pytest.approx(0.5, abs=0.1)
    assert default.less_default == {}
    assert other.less_default["held_out.true_auc"].high < 0
    assert other.less_default["moved.true_auc"].high < 0
    assert found.met == {"thumbs": False, "auc_of_oracle": True, "ece": found.met["ece"], "disagreement": True}
    assert not summary(bad).met["auc_of_oracle"]
    write_table(found, tmp_path / "thumbs.txt", Console(quiet=True))
    plot(found, tmp_path / "thumbs.svg")
    assert "auc_of_oracle met" in (tmp_path / "thumbs.txt").read_text()
    assert "length head" in (tmp_path / "thumbs.svg").read_text()


def test_nothing_to_sum_up_is_refused() -> None:
    with pytest.raises(ValueError, match="no cells"):
        summary([])


def test_arms_differ_from_the_default_by_what_their_names_say() -> None:
    plain = ARMS["default"].config(3)
    assert ARMS["length head"].config(3) == replace(plain, length_head=1.0)
    assert ARMS["impressed"].config(3) == plain
    assert ARMS["meta step"].config(3).meta_rate > 0
    assert plain.seed == 3


def test_a_tiny_run_leaves_figures_and_a_second_one_reads_its_cells(tmp_path: Path) -> None:
    given = ["--out", str(tmp_path), "--seeds", "1", "--chats", "80", "--moved", "20", "--arms", "default,meta step"]
    assert main(given) == 1
    made = (tmp_path / "thumbs.json").read_bytes()
    cells = sorted(tmp_path.glob("seed-1/*/cell.json"))
    assert [c.parent.name for c in cells] == ["default", "meta-step"]
    before = [c.stat().st_mtime_ns for c in cells]
    assert main(given) == 1
    assert [c.stat().st_mtime_ns for c in cells] == before
    assert (tmp_path / "thumbs.json").read_bytes() == made


@pytest.mark.parametrize("wrong", [["--arms", "none"], ["--chats", "1"], ["--seeds", "one"]])
def test_options_that_make_no_sense_are_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(wrong)
    assert wrong[0] in capsys.readouterr().err
