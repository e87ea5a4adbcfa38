"""F1 of the words that answer and reference share, mean over the rows, as SQuAD scores answers.

Rajpurkar et al. 2016, arXiv:1606.05250, section 6.1: case, punctuation and English articles do not
count, order neither.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from luthier.evaluation.intervals import all_alike, worth
from luthier.evaluation.outcome import Answers, Floats, Metric
from luthier.evaluation.text import words

FITS = ("generation", "chat")
_ARTICLES = ("a", "an", "the")


def build() -> Metric:
    """Build the metric."""
    return Metric(
        "token_f1", "higher", _prepare,
        alike=lambda outcome, value: all_alike(value, worth(outcome), 0.0, 1.0),
        bounds=(0.0, 1.0),
    )  # fmt: skip


def _prepare(outcome: Answers) -> Callable[[Floats], Floats]:
    pairs = zip(outcome.written, outcome.references, strict=True)
    scores = np.array([_f1(answer, reference) for answer, reference in pairs])
    return lambda weights: weights @ scores / weights.sum(axis=1)


def _f1(answer: str, reference: str) -> float:
    said, wanted = (Counter(w for w in words(t) if w not in _ARTICLES) for t in (answer, reference))
    if not said or not wanted:
        return float(said == wanted)
    return 2 * (said & wanted).total() / (said.total() + wanted.total())
