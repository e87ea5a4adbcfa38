"""ROUGE-L: F1 of the longest common subsequence of words, mean over the rows.

Lin 2004, aclanthology.org/W04-1013, section 3.1 (sentence level, precision and recall weighted
alike). Words in lower case, no stemming.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from luthier.evaluation.intervals import all_alike, worth
from luthier.evaluation.outcome import Answers, Floats, Metric
from luthier.evaluation.text import words

FITS = ("generation", "chat")


def build() -> Metric:
    """Build the metric."""
    return Metric(
        "rouge_l", "higher", _prepare,
        alike=lambda outcome, value: all_alike(value, worth(outcome), 0.0, 1.0),
        bounds=(0.0, 1.0),
    )  # fmt: skip


def _prepare(outcome: Answers) -> Callable[[Floats], Floats]:
    pairs = zip(outcome.written, outcome.references, strict=True)
    scores = np.array([_f1(words(answer), words(reference)) for answer, reference in pairs])
    return lambda weights: weights @ scores / weights.sum(axis=1)


def _f1(answer: list[str], reference: list[str]) -> float:
    from rapidfuzz.distance import LCSseq

    if not answer or not reference:
        return float(answer == reference)
    return 2 * LCSseq.similarity(answer, reference) / (len(answer) + len(reference))
