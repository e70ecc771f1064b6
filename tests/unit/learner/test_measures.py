import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, precision_recall_fscore_support, roc_auc_score

from thumbwheel_learner.measures import (
    auc,
    bootstrap,
    brier,
    confusion,
    correlation,
    ece,
    fit_calibration,
    fit_with_lapses,
    sigmoid,
)

RNG = np.random.default_rng(0)
LABELS = (RNG.random(300) < 0.4).astype(float)
LOGITS = np.round(2 * LABELS - 1 + RNG.normal(size=300), 1)


def test_auc_equals_scikit_learns_ties_included() -> None:
    assert auc(LOGITS, LABELS) == pytest.approx(roc_auc_score(LABELS, LOGITS))
    assert np.isnan(auc(LOGITS, np.ones(300)))


def test_brier_precision_recall_and_f1_equal_scikit_learns() -> None:
    probabilities = sigmoid(LOGITS)
    precision, recall, f1, _ = precision_recall_fscore_support(LABELS, probabilities > 0.5, average="binary")
    assert brier(probabilities, LABELS) == pytest.approx(brier_score_loss(LABELS, probabilities))
    ours = confusion(probabilities, LABELS)
    assert (ours["precision"], ours["recall"], ours["f1"]) == pytest.approx((precision, recall, f1))


def test_calibration_error_is_small_for_true_probabilities_and_large_for_boasts() -> None:
    truth = RNG.random(20_000)
    labels = (RNG.random(20_000) < truth).astype(float)
    assert ece(truth, labels) < 0.02
    assert ece(np.where(truth > 0.5, 0.99, 0.01), labels) > 0.2


def test_temperature_undoes_overconfidence() -> None:
    logits = np.random.default_rng(0).normal(size=20_000) * 2
    labels = (np.random.default_rng(1).random(20_000) < sigmoid(logits)).astype(float)
    found = fit_calibration(3 * logits, labels)
    assert found.temperature == pytest.approx(3.0, rel=0.1)
    assert found.shift == pytest.approx(0.0, abs=0.2)
    assert fit_calibration(logits, np.ones(20_000)) == (1.0, 0.0, 0.0)


def test_a_shift_mends_the_base_rate_that_a_temperature_alone_would_stretch() -> None:
    logits = np.random.default_rng(0).normal(size=4_000)
    labels = (np.random.default_rng(1).random(4_000) < sigmoid(3 * logits + 1)).astype(float)
    found = fit_calibration(logits, labels)
    assert found.temperature == pytest.approx(1 / 3, rel=0.1)
    assert found.shift / found.temperature == pytest.approx(1.0, abs=0.15)
    assert ece(found.apply(logits), labels) < 0.03 < 0.1 < ece(sigmoid(logits / found.temperature), labels)
    few = fit_calibration(np.zeros(4), np.array([1.0, 1.0, 1.0, 0.0]))
    assert 0 < few.shift / few.temperature < np.log(3)


def test_mistaken_labels_bound_how_sure_one_can_be() -> None:
    logits = np.random.default_rng(0).normal(size=4_000) * 2
    meant = np.random.default_rng(1).random(4_000) < sigmoid(2 * logits)
    labels = (meant != (np.random.default_rng(2).random(4_000) < 0.1)).astype(float)
    found, plain = fit_with_lapses(logits, labels), fit_calibration(logits, labels)
    assert found.lapse == pytest.approx(0.1, abs=0.02)
    assert found.temperature == pytest.approx(0.5, rel=0.15)
    assert ece(found.apply(logits), labels) < 0.02 < ece(plain.apply(logits), labels)
    few = fit_with_lapses(logits[:20], labels[:20])
    assert 0.0 < few.lapse < 0.15, "twenty labels cannot tell a mistake from a doubt"
    assert fit_with_lapses(logits, np.ones(4_000)) == (1.0, 0.0, 0.0)


def test_bootstrap_over_clusters_is_wider_than_over_repeats() -> None:
    once = RNG.normal(size=40)
    values = np.repeat(once, 25)
    clusters = np.repeat(np.arange(40), 25).tolist()
    wide = bootstrap(lambda i: float(values[i].mean()), clusters)
    narrow = bootstrap(lambda i: float(values[i].mean()), range(len(values)))
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)
    assert wide.low < values.mean() < wide.high


def test_bootstrap_of_nothing_says_so() -> None:
    nothing = bootstrap(lambda i: 0.0, [])
    assert nothing.n == 0
    assert np.isnan(nothing.mean)


def test_correlation_without_variation_is_zero() -> None:
    assert correlation(np.ones(5), np.arange(5.0)) == 0.0
    assert correlation(np.arange(5.0), -np.arange(5.0)) == pytest.approx(-1.0)
