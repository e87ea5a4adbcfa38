"""Do confidences mean what they say? One temperature, and honest measures before and after."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, ndtr

from luthier.artifacts import Calibration, ReliabilityBin
from luthier.evaluation.intervals import wilson
from luthier.evaluation.outcome import Choices, Floats

COLDEST, HOTTEST = 0.05, 20.0
"""Bounds of the temperature; a calibration split without errors would drive it to 0."""
ROWS_PER_BIN = 20
MOST_BINS = 15
"""As Guo et al. 2017 report; fewer where bins would hold less than ROWS_PER_BIN rows."""
DIAGRAM_BINS = 10


def calibrate(fit: Choices, test: Choices) -> Calibration:
    """Fit a temperature on one split and judge it on another.

    Args:
        fit: the tuned model on the calibration split.
        test: the tuned model on the test split.
    """
    return judge(test, fit_temperature(fit), rows=len(fit))


def fit_temperature(choices: Choices) -> float:
    """The temperature with the least negative log-likelihood (Guo et al. 2017, section 4.2).

    Dividing all scores by it changes no prediction. The NLL is convex in its inverse, so the
    bounded search finds the global minimum.
    """
    found = minimize_scalar(
        lambda log_t: _nll(choices, float(np.exp(log_t))),
        bounds=(np.log(COLDEST), np.log(HOTTEST)),
        method="bounded",
        options={"xatol": 1e-5},
    )
    return float(np.exp(found.x))


def judge(test: Choices, temperature: float, *, rows: int) -> Calibration:
    """Measure calibration without and with a temperature.

    Args:
        test: rows that the temperature was not fitted on.
        temperature: divides the scores.
        rows: how many rows the temperature was fitted on.
    """
    return Calibration(
        temperature=temperature,
        rows=rows,
        before=_measures(test, 1.0),
        after=_measures(test, temperature),
        bins_before=_diagram(test, 1.0),
        bins_after=_diagram(test, temperature),
    )


def _measures(test: Choices, temperature: float) -> dict[str, float]:
    p = test.probabilities(temperature)
    right = np.eye(len(test.labels))[test.gold]
    confidence, correct = p.max(axis=1), test.correct
    return {
        "ece": expected_calibration_error(confidence, correct),
        "ece_debiased": expected_calibration_error(confidence, correct, debiased=True),
        "ece_noise_floor": noise_floor(confidence),
        "brier": float(((p - right) ** 2).sum(axis=1).mean()),
        "nll": _nll(test, temperature),
    }


def expected_calibration_error(
    confidence: Floats, correct: npt.NDArray[np.bool_], *, debiased: bool = False
) -> float:
    """ECE over bins of equal mass, of the predicted label's confidence.

    Args:
        confidence: (rows,) probability of the predicted label.
        correct: (rows,) whether it was right.
        debiased: subtract what chance alone adds: in each bin, the excess of E|gap + noise| over
            |gap| under the normal approximation of the bin's accuracy (Kumar et al. 2019,
            arXiv:1909.10155, their `debiased` estimator for the L1 error, in closed form).
    """
    ece = 0.0
    for rows in _bins(confidence, _bin_count(len(confidence))):
        share, accuracy = len(rows) / len(confidence), correct[rows].mean()
        gap = abs(confidence[rows].mean() - accuracy)
        ece += share * gap
        if debiased:
            noise = float(np.sqrt(accuracy * (1 - accuracy) / len(rows)))
            ece -= share * (_folded_normal_mean(float(gap), noise) - gap)
    return float(max(0.0, ece))


def noise_floor(confidence: Floats) -> float:
    """The ECE to expect of these confidences if they were perfectly calibrated.

    In a bin of n rows the gap is then about normal with variance mean p(1-p) / n, and the mean
    of its absolute value is sqrt(2/pi) of its standard deviation. An ECE near this says nothing.
    """
    floor = 0.0
    for rows in _bins(confidence, _bin_count(len(confidence))):
        p = confidence[rows]
        deviation = np.sqrt((p * (1 - p)).mean() / len(rows))
        floor += len(rows) / len(confidence) * np.sqrt(2 / np.pi) * deviation
    return float(floor)


def _nll(choices: Choices, temperature: float) -> float:
    log_p = log_softmax(choices.scores / temperature, axis=1)
    return float(-log_p[np.arange(len(choices)), choices.gold].mean())


def _folded_normal_mean(gap: float, noise: float) -> float:
    if noise == 0:
        return gap
    z = gap / noise
    tail = noise * np.sqrt(2 / np.pi) * np.exp(-(z**2) / 2)
    return float(tail + gap * (1 - 2 * ndtr(-z)))


def _diagram(test: Choices, temperature: float) -> list[ReliabilityBin]:
    confidence, correct = test.probabilities(temperature).max(axis=1), test.correct
    found = []
    for rows in _bins(confidence, min(DIAGRAM_BINS, _bin_count(len(confidence)))):
        low, high = wilson(int(correct[rows].sum()), len(rows))
        found.append(
            ReliabilityBin(
                confidence=float(confidence[rows].mean()),
                accuracy=float(correct[rows].mean()),
                low=low,
                high=high,
                rows=len(rows),
            )
        )
    return found


def _bin_count(rows: int) -> int:
    return max(1, min(MOST_BINS, rows // ROWS_PER_BIN))


def _bins(confidence: Floats, count: int) -> list[npt.NDArray[np.int64]]:
    """Row indices of bins of equal mass, least confident first."""
    order = np.argsort(confidence, kind="stable").astype(np.int64)
    return [rows for rows in np.array_split(order, count) if len(rows)]
