"""Mean F1 over the labels, each label counting alike however rare it is.

Labels that are neither gold nor predicted in the rows at hand are left out of the mean.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from luthier.evaluation.confusion import weighted_f1
from luthier.evaluation.outcome import Choices, Floats, Metric

FITS = ("classification",)


def build() -> Metric:
    """Build the metric."""
    return Metric("macro_f1", "higher", _prepare, bounds=(0.0, 1.0))


def _prepare(choices: Choices) -> Callable[[Floats], Floats]:
    def statistic(weights: Floats) -> Floats:
        mean: Floats = np.nanmean(weighted_f1(choices, weights), axis=1)
        return mean

    return statistic
