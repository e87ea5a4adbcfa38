"""Temperature, calibration error, and what chance alone makes of it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax

from luthier.evaluation.calibration import (
    COLDEST,
    calibrate,
    expected_calibration_error,
    fit_temperature,
    noise_floor,
)
from luthier.evaluation.outcome import Choices


def drawn(rows: int, labels: int = 2, *, temperature: float = 1.0, seed: int = 0) -> Choices:
    """Rows whose gold labels are drawn from softmax(scores / temperature)."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(scale=3, size=(rows, labels))
    p = np.exp(log_softmax(scores / temperature, axis=1))
    gold = (p.cumsum(axis=1) < rng.random(rows)[:, None]).sum(axis=1)
    return Choices([f"label {i}" for i in range(labels)], "label 0", gold, scores)


@pytest.mark.parametrize("labels", [2, 5])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_the_labels_is_found(labels: int, temperature: float) -> None:
    found = fit_temperature(drawn(6000, labels, temperature=temperature))

    assert found == pytest.approx(temperature, rel=0.1)


def test_the_fit_is_the_minimum_of_the_nll() -> None:
    choices = drawn(200, 3, temperature=2.0)
    found = fit_temperature(choices)

    def nll(t: float) -> float:
        return -float(log_softmax(choices.scores / t, axis=1)[np.arange(200), choices.gold].mean())

    assert nll(found) <= min(nll(t) for t in np.geomspace(0.05, 20, 400)) + 1e-9


def test_a_split_without_errors_does_not_make_confidences_infinite() -> None:
    choices = Choices(["a", "b"], "a", np.array([0, 1]), np.array([[1.0, 0.0], [0.0, 1.0]]))

    assert fit_temperature(choices) == pytest.approx(COLDEST, rel=0.01)


def test_calibration_lowers_every_measure_of_an_overconfident_model() -> None:
    fit, test = (drawn(1500, 3, temperature=2.5, seed=s) for s in (1, 2))
    found = calibrate(fit, test)

    assert found.rows == 1500
    assert found.temperature == pytest.approx(2.5, rel=0.15)
    for name in ("ece", "ece_debiased", "brier", "nll"):
        assert found.after[name] < found.before[name]
    assert found.after["ece"] < 0.05 < 0.15 < found.before["ece"]
    assert found.after["ece"] < 2 * found.after["ece_noise_floor"]


def test_calibration_changes_no_prediction() -> None:
    test = drawn(500, 4, temperature=2.0)

    np.testing.assert_array_equal(test.probabilities(2.7).argmax(axis=1), test.predicted)


def test_brier_and_nll_equal_scikit_learn() -> None:
    from sklearn.metrics import brier_score_loss, log_loss

    test = drawn(300, 3)
    found = calibrate(test, test)

    p = test.probabilities()
    assert found.before["nll"] == pytest.approx(log_loss(test.gold, p))
    expected = brier_score_loss(test.gold, p, labels=[0, 1, 2], scale_by_half=False)
    assert found.before["brier"] == pytest.approx(expected)


def test_the_noise_floor_is_the_ece_of_perfectly_calibrated_confidences() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, size=400)
    plain, debiased = [], []
    for _ in range(300):
        correct = rng.random(400) < confidence
        plain.append(expected_calibration_error(confidence, correct))
        debiased.append(expected_calibration_error(confidence, correct, debiased=True))

    assert np.mean(plain) == pytest.approx(noise_floor(confidence), rel=0.05)
    assert np.mean(plain) > 0.03, "400 rows alone make an ECE above 0.03"
    assert np.mean(debiased) < 0.7 * np.mean(plain)


def test_ece_of_a_known_gap() -> None:
    confidence = np.full(4000, 0.9)
    correct = np.arange(4000) % 10 < 7
    found = expected_calibration_error(confidence, np.random.default_rng(0).permutation(correct))

    assert found == pytest.approx(0.2, abs=0.01)


def test_reliability_bins_hold_all_rows_and_their_intervals_hold_the_accuracy() -> None:
    found = calibrate(drawn(500), drawn(503, seed=1))

    for bins in (found.bins_before, found.bins_after):
        assert sum(b.rows for b in bins) == 503
        assert len(bins) == 10
        assert max(b.rows for b in bins) - min(b.rows for b in bins) <= 1
        assert all(b.low <= b.accuracy <= b.high for b in bins)
        assert [b.confidence for b in bins] == sorted(b.confidence for b in bins)


def test_a_handful_of_rows_is_one_bin() -> None:
    found = calibrate(drawn(5), drawn(7, seed=1))

    assert [b.rows for b in found.bins_after] == [7]
