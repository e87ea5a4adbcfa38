"""Share of rows whose likeliest label is the right one (Wilson interval)."""

from __future__ import annotations

from collections.abc import Callable

from luthier.evaluation.outcome import Choices, Floats, Metric

FITS = ("classification",)


def build() -> Metric:
    """Build the metric."""
    return Metric(
        "accuracy",
        "higher",
        _prepare,
        proportion=lambda choices: choices.correct,
        bounds=(0.0, 1.0),
    )


def _prepare(choices: Choices) -> Callable[[Floats], Floats]:
    correct = choices.correct.astype(float)
    return lambda weights: weights @ correct / weights.sum(axis=1)
