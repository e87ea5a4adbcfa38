"""Share of answers that equal the reference but for white space (Wilson interval)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from luthier.evaluation.outcome import Answers, Floats, Metric
from luthier.evaluation.text import plain

FITS = ("generation", "chat")


def build() -> Metric:
    """Build the metric."""
    return Metric("exact_match", "higher", _prepare, proportion=_matches, bounds=(0.0, 1.0))


def _matches(outcome: Answers) -> npt.NDArray[np.bool_]:
    pairs = zip(outcome.written, outcome.references, strict=True)
    return np.array([plain(answer) == plain(reference) for answer, reference in pairs], dtype=bool)


def _prepare(outcome: Answers) -> Callable[[Floats], Floats]:
    matches = _matches(outcome).astype(float)
    return lambda weights: weights @ matches / weights.sum(axis=1)
