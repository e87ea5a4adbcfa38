"""Mean length of the answers in words; neither long nor short is better."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from luthier.evaluation.outcome import Answers, Floats, Metric
from luthier.evaluation.text import words

FITS = ("generation", "chat")


def build() -> Metric:
    """Build the metric."""
    return Metric("answer_length", None, _prepare)


def _prepare(outcome: Answers) -> Callable[[Floats], Floats]:
    lengths = np.array([len(words(answer)) for answer in outcome.written], dtype=float)
    return lambda weights: weights @ lengths / weights.sum(axis=1)
