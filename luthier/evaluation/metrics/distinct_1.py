"""Distinct-1: distinct words over all words; low where a model repeats itself.

Li et al. 2016, arXiv:1510.03055, section 5.2. No interval: rows drawn twice would count as
repetition.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from luthier.evaluation.outcome import Answers, Floats, Metric
from luthier.evaluation.text import distinct

FITS = ("generation", "chat")


def build() -> Metric:
    """Build the metric."""
    return Metric("distinct_1", None, _prepare, resampled=False)


def _prepare(outcome: Answers) -> Callable[[Floats], Floats]:
    share = distinct(outcome.written, 1)
    return lambda weights: np.full(len(weights), share)
