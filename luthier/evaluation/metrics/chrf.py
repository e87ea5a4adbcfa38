"""chrF, 0 to 100: F-score over character 1- to 6-grams, mean over the rows.

Popovic 2015, aclanthology.org/W15-3049, as sacrebleu computes it for a sentence (beta 2).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from luthier.evaluation.intervals import all_alike, worth
from luthier.evaluation.outcome import Answers, Floats, Metric

FITS = ("generation", "chat")


def build() -> Metric:
    """Build the metric."""
    return Metric(
        "chrf", "higher", _prepare,
        alike=lambda outcome, value: all_alike(value, worth(outcome), 0.0, 100.0),
        bounds=(0.0, 100.0),
    )  # fmt: skip


def _prepare(outcome: Answers) -> Callable[[Floats], Floats]:
    from sacrebleu.metrics import CHRF

    chrf = CHRF()
    pairs = zip(outcome.written, outcome.references, strict=True)
    scores = np.array([chrf.sentence_score(answer, [ref]).score for answer, ref in pairs])
    return lambda weights: weights @ scores / weights.sum(axis=1)
