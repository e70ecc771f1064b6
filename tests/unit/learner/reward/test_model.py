import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from tests.learner_models import make_base, pair, said, snapshot, thumb

from thumbwheel_learner.dataset.examples import Judged, Outcome, Snapshot
from thumbwheel_learner.measures import auc
from thumbwheel_learner.model.adapters import BadAdapter
from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.model.trunk import Trunk
from thumbwheel_learner.reward.config import RewardConfig
from thumbwheel_learner.reward.labels import Item, Row, prompt_key
from thumbwheel_learner.reward.model import ALL, RewardModel, load_reward
from thumbwheel_learner.reward.training import TooFewLabels, ordinal_nll, passes_over, train_reward

CONFIG = RewardConfig(
    members=2, epochs=8, rank=4, batch_tokens=512, learning_rate=5e-3, head_learning_rate=5e-3, likelihood=False
)
"""Without the base's likelihood: a random base has no opinion worth hearing (see test_likelihood.py)."""
GIVEN = ("messages", "answer", "conversation_id", "created_ms", "event_id")
ANSWERS = ["sorry please", "rude no", "thanks refund", "bad now", "yes sorry", "no late", "is good", "the rude"]


def liked(answer: str) -> bool:
    """The planted signal: some words please, the others do not."""
    return answer in {"sorry please", "thanks refund", "yes sorry", "is good"}


def votes(count: int, seed: int, noise: float = 0.1) -> list[Judged]:
    rng = np.random.default_rng(seed)
    chosen = [ANSWERS[i] for i in rng.integers(len(ANSWERS), size=count)]
    asked = [" ".join(rng.choice(["order", "late", "my", "where", "is"], size=3)) for _ in range(count)]
    return [
        thumb(n, q, a, up=liked(a) != (rng.random() < noise))
        for n, (q, a) in enumerate(zip(asked, chosen, strict=True))
    ]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PolicyModel:
    return load_policy(make_base(tmp_path_factory.mktemp("base")))


def test_thumbs_teach_the_planted_signal_and_the_report_sees_it(model: PolicyModel, tmp_path: Path) -> None:
    reward, report = train_reward(model, snapshot(judged=votes(240, 0)), CONFIG, tmp_path / "reward")
    scores = reward.score_messages([said("my order")] * len(ANSWERS), ANSWERS)
    assert auc(scores.mean.double().numpy(), np.array([liked(a) for a in ANSWERS], dtype=float)) == 1.0
    assert report.auc.mean > 0.75
    assert report.auc.low > 0.5
    assert report.accuracy.mean > 0.75
    assert report.n_train == 204
    assert report.n_held_out == 36
    assert report.ece < 0.25
    plain = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert plain["pair_accuracy"]["mean"] is None
    chances = reward.p_up(reward.score_messages([said("order late my")] * len(ANSWERS), ANSWERS)).tolist()
    happy, unhappy = (
        [p for p, a in zip(chances, ANSWERS, strict=True) if liked(a) == which] for which in (True, False)
    )
    assert sum(happy) / 4 - sum(unhappy) / 4 > 0.2


def test_pairs_alone_teach_it_too(model: PolicyModel, tmp_path: Path) -> None:
    good, bad = [a for a in ANSWERS if liked(a)], [a for a in ANSWERS if not liked(a)]
    pairs = [pair(n, "where is order", good[n % 4], bad[n // 4 % 4]) for n in range(120)]
    reward, report = train_reward(model, snapshot(pairs=pairs), CONFIG, tmp_path / "reward")
    assert report.pair_accuracy.mean == 1.0
    assert reward.score_messages([said("my order")] * 2, ["yes sorry", "rude no"]).mean.diff() < 0


def from_labeler(model: PolicyModel, n: int, *, weight: float, prompt: str) -> Item:
    """A labeler prefers one to another of two answers on which people say nothing."""
    asked = model.tokens.prompt_ids(said("where is my"))
    rows = tuple(Row(asked, model.tokens.answer_ids(text)) for text in ("bad bad bad", "now now now"))
    return Item("pair", rows, 1.0, "labeler:x", f"other-{n}", 0, prompt, weight)


def test_a_labelers_pairs_teach_as_much_as_they_weigh_and_are_never_reported_on(
    model: PolicyModel, tmp_path: Path
) -> None:
    margins: list[float] = []
    for weight in (0.0, 0.1, 1.0):
        extra = [from_labeler(model, n, weight=weight, prompt="nowhere else") for n in range(40)]
        reward, report = train_reward(
            model, snapshot(judged=votes(120, 3)), CONFIG, tmp_path / f"reward-{weight}", extra=extra
        )
        scores = reward.score_messages([said("where is my")] * 2, ["bad bad bad", "now now now"]).mean
        margins.append(float(scores[0] - scores[1]))
        assert (report.n_train, report.n_held_out, report.pair_accuracy.n) == (102, 18, 0)
    assert margins[0] < margins[1] < margins[2]
    assert margins[2] > 0


def test_a_labelers_pair_on_a_held_out_prompt_is_not_learned_from(model: PolicyModel, tmp_path: Path) -> None:
    judged = votes(120, 3)
    held = prompt_key(judged[-1].messages)
    extra = [from_labeler(model, n, weight=1.0, prompt=held) for n in range(40)]
    with_them, _ = train_reward(model, snapshot(judged=judged), CONFIG, tmp_path / "a", extra=extra)
    without, _ = train_reward(model, snapshot(judged=judged), CONFIG, tmp_path / "b")
    asked = [said("my order")] * len(ANSWERS)
    same = with_them.score_messages(asked, ANSWERS), without.score_messages(asked, ANSWERS)
    assert torch.equal(same[0].members, same[1].members)


def test_a_saved_reward_model_scores_the_same_elsewhere(model: PolicyModel, tmp_path: Path) -> None:
    reward, _ = train_reward(model, snapshot(judged=votes(60, 1)), CONFIG, tmp_path / "reward")
    asked = [said("my order"), said("late")]
    expected = reward.score_messages(asked, ["yes sorry", "rude no"])
    loaded = load_reward(model, tmp_path / "reward", prefix="other")
    actual = loaded.score_messages(asked, ["yes sorry", "rude no"])
    assert torch.equal(actual.members, expected.members)
    assert torch.equal(loaded.p_up(actual), reward.p_up(expected))
    assert loaded.identity() == reward.identity()
    assert loaded.report == reward.report


def test_training_is_the_same_for_the_same_seed_and_not_for_another(model: PolicyModel, tmp_path: Path) -> None:
    data = snapshot(judged=votes(60, 1))
    first, again = (train_reward(model, data, CONFIG, tmp_path / str(n))[0].identity() for n in range(2))
    other = train_reward(model, data, RewardConfig(members=2, epochs=3, rank=4, seed=5), tmp_path / "o")[0].identity()
    assert first == again
    assert first != other


def test_members_disagree_more_about_what_they_never_saw(model: PolicyModel, tmp_path: Path) -> None:
    config = RewardConfig(members=4, epochs=6, rank=4, batch_tokens=3072, learning_rate=3e-3, head_learning_rate=3e-3)
    reward, _ = train_reward(model, snapshot(judged=votes(200, 2, noise=0.0)), config, tmp_path / "reward")
    known = reward.score_messages([said("my order")] * 8, ANSWERS)
    strange = reward.score_messages([said("good bad refund")] * 4, ["where where", "now my", "order order", "late the"])
    assert float(strange.std.mean()) > float(known.std.mean())


def test_flags_count_against_and_ratings_are_ordered(model: PolicyModel, tmp_path: Path) -> None:
    rated = [
        Judged(
            messages=said("my order"),
            answer=("rude no", "the now", "sorry please")[n % 3],
            kind="rating",
            value=(1.0, 3.0, 5.0)[n % 3],
            user=f"u{n}",
            conversation_id=f"c{n}",
            created_ms=n,
            event_id=f"e{n}",
        )
        for n in range(90)
    ]
    flags = [msgspec.structs.replace(r, kind="flag", value=0.0) for r in rated[:30]]
    reward, _ = train_reward(model, snapshot(judged=rated), CONFIG, tmp_path / "reward")
    low, middle, high = reward.score_messages([said("my order")] * 3, ["rude no", "the now", "sorry please"]).mean
    assert low < middle < high
    flagged = snapshot(judged=[*(f for f in flags if f.answer == "rude no"), *votes(80, 3)])
    reward, _ = train_reward(model, flagged, CONFIG, tmp_path / "flagged")
    scores = reward.score_messages([said("my order")] * 2, ["rude no", "sorry please"]).mean
    assert scores[0] < scores[1]


def test_ordinal_probabilities_sum_to_one_whatever_the_cutpoints() -> None:
    scores = torch.linspace(-4, 4, 9)
    cutpoints = torch.tensor([2.0, -5.0, 0.0, 3.0])
    total = sum(torch.exp(-ordinal_nll(scores, torch.full((9,), float(r)), cutpoints)) for r in range(1, 6))
    assert isinstance(total, torch.Tensor)
    assert torch.allclose(total, torch.ones(9), atol=1e-4)


def test_outcomes_teach_what_thumbs_do(model: PolicyModel, tmp_path: Path) -> None:
    outcomes = [
        Outcome(name="solved", value=v.value > 0, user="app", **{field: getattr(v, field) for field in GIVEN})
        for v in votes(300, 1)
    ]
    data = msgspec.structs.replace(snapshot(), outcomes=outcomes)
    with pytest.raises(TooFewLabels):
        train_reward(model, data, CONFIG, tmp_path / "deaf")
    reward, _ = train_reward(model, data, replace(CONFIG, outcomes=["solved"]), tmp_path / "hears")
    asked = [model.tokens.prompt_ids(said("where is my order"))] * len(ANSWERS)
    worth = reward.score(asked, ANSWERS).mean.double().numpy()
    assert auc(worth, np.array([float(liked(a)) for a in ANSWERS])) > 0.9


def test_a_user_who_weighs_little_teaches_little(model: PolicyModel, tmp_path: Path) -> None:
    fair = votes(120, 4, noise=0.0)
    liar = [thumb(500 + n, "my order", ANSWERS[n % 8], up=not liked(ANSWERS[n % 8]), user="liar") for n in range(160)]
    data = snapshot(judged=[*fair, *liar])
    config = replace(CONFIG, held_out=0.0)
    by_weight = {
        weight: train_reward(model, data, config, tmp_path / str(weight), weights={"liar": weight})[0]
        for weight in (1.0, 0.01)
    }
    truth = np.array([liked(a) for a in ANSWERS], dtype=float)
    order = {
        weight: auc(reward.score_messages([said("my order")] * 8, ANSWERS).mean.double().numpy(), truth)
        for weight, reward in by_weight.items()
    }
    assert order[0.01] == 1.0
    assert order[1.0] < 0.9


def test_a_grumpy_user_moves_their_bias_more_than_the_reward(model: PolicyModel, tmp_path: Path) -> None:
    fair = votes(160, 4, noise=0.0)
    grumpy = [thumb(500 + n, "my order", ANSWERS[n % 8], up=False, user="grumpy") for n in range(40)]
    with_grumpy, _ = train_reward(model, snapshot(judged=[*fair, *grumpy]), CONFIG, tmp_path / "a")
    scattered = [thumb(500 + n, "my order", ANSWERS[n % 8], up=False) for n in range(40)]
    with_many, _ = train_reward(model, snapshot(judged=[*fair, *scattered]), CONFIG, tmp_path / "b")

    def p(reward: RewardModel) -> float:
        return float(reward.p_up(reward.score_messages([said("my order")], ["yes sorry"]))[0])

    assert p(with_grumpy) > p(with_many)


@pytest.mark.parametrize("pooling", ["last", "mean", "both"])
def test_scores_do_not_depend_on_the_company_in_the_batch(model: PolicyModel, pooling: str) -> None:
    reward = RewardModel(model, RewardConfig(members=2, pooling=pooling, prior_scale=0.5), "alone")  # type: ignore[arg-type]
    asked = [said("my order"), said("where is my order now please")]
    answers = ["yes", "no sorry the refund is late"]
    together = reward.score_messages(asked, answers).members
    apart = [reward.score_messages([q], [a]).members for q, a in zip(asked, answers, strict=True)]
    assert torch.allclose(together, torch.cat(apart), atol=1e-5)


def test_nothing_to_learn_from_is_an_error(model: PolicyModel, tmp_path: Path) -> None:
    with pytest.raises(TooFewLabels):
        train_reward(model, snapshot(), CONFIG, tmp_path / "reward")


def test_a_folder_that_holds_no_reward_model_is_refused(model: PolicyModel, tmp_path: Path) -> None:
    with pytest.raises(BadAdapter, match="not a reward model"):
        load_reward(model, tmp_path)


def test_progress_ends_at_one_and_may_stop_the_training(model: PolicyModel, tmp_path: Path) -> None:
    data: Snapshot = snapshot(judged=votes(40, 1))
    seen: list[float] = []
    train_reward(model, data, CONFIG, tmp_path / "a", progress=lambda stage, share, detail: seen.append(share))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0

    def stop(stage: str, share: float, detail: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_reward(model, data, CONFIG, tmp_path / "b", progress=stop)
    assert not (tmp_path / "b" / "reward.json").exists()


def test_few_labels_are_seen_more_often_than_many() -> None:
    config = RewardConfig(judgements=4_000)
    assert [passes_over(n, config) for n in (10, 1_000, 100_000)] == [16, 4, 1]
    assert passes_over(10, RewardConfig(epochs=3)) == 3


@pytest.mark.parametrize(("fitted", "last"), [(0.0, 3), (10.0, 1)])
def test_training_ends_with_the_epoch_that_fits_the_labels(
    model: PolicyModel, tmp_path: Path, fitted: float, last: int
) -> None:
    seen: list[str] = []
    train_reward(
        model,
        snapshot(judged=votes(40, 0)),
        replace(CONFIG, epochs=3, members=1, fitted=fitted),
        tmp_path / "reward",
        progress=lambda _stage, _share, what: seen.append(what),
    )
    assert seen[-1].startswith(f"epoch {last}/3")


def test_answers_that_come_twice_are_read_once_and_scored_alike(model: PolicyModel) -> None:
    class Counting(RewardModel):
        read = 0

        def raw(
            self,
            rows: Sequence[Row],
            trunk: Trunk | None = None,
            members: slice = ALL,
            known: torch.Tensor | None = None,
        ) -> torch.Tensor:
            self.read += len(rows)
            return super().raw(rows, trunk, members, known)

    reward = Counting(model, CONFIG, "twice")
    prompt = model.tokens.prompt_ids(said("my order"))
    answers = ["thanks refund", "no late", "thanks refund", "is good", "no late"]
    scores = reward.score([prompt] * 5, answers).members
    assert reward.read == 3
    alone = torch.cat([reward.score([prompt], [answer]).members for answer in answers])
    torch.testing.assert_close(scores, alone, atol=1e-5, rtol=1e-5)
