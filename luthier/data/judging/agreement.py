"""How far a judge agrees with people, beyond chance."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from luthier.errors import DataError

_RESAMPLES = 1000
FEWEST = 10
"""Rows with a human verdict from which agreement says anything."""


class Agreement(NamedTuple):
    """Cohen's kappa (J. Cohen 1960; weighted 1968): 0 is chance, 1 is always."""

    kappa: float
    low: float
    """95 % interval, by resampling rows."""
    high: float
    rows: int
    exact: float
    """Share of rows with the same verdict."""
    weighted: bool
    """Whether verdicts are numbers, where near ones agree in part (quadratic weights)."""

    def __str__(self) -> str:
        kind = "weighted kappa" if self.weighted else "kappa"
        return (
            f"{kind} {self.kappa:.2f} [{self.low:.2f}, {self.high:.2f}] with people over "
            f"{self.rows:,} rows; the same verdict in {self.exact:.0%}"
        )


def agreement(human: Sequence[str | float], judged: Sequence[str | float], seed: int) -> Agreement:
    """Compare verdicts on the same rows.

    Args:
        human: what people said: numbers, or names of verdicts.
        judged: what the judge said of the same rows, of the same kind.
        seed: of the resampling.

    Raises:
        DataError: there are too few rows.
    """
    if len(human) < FEWEST:
        raise DataError(
            f"{len(human)} rows have a verdict by people; agreement needs at least {FEWEST}."
        )
    weighted = all(isinstance(v, (int, float)) for v in (*human, *judged))
    ones, others = np.array(human), np.array(judged)
    if weighted:
        ones, others = np.rint(ones.astype(float)), np.rint(others.astype(float))
    chance = np.random.default_rng(seed)
    drawn = []
    for _ in range(_RESAMPLES):
        rows = chance.integers(0, len(ones), len(ones))
        kappa = _kappa(ones[rows], others[rows], weighted)
        if not math.isnan(kappa):
            drawn.append(kappa)
    low, high = np.percentile(drawn, [2.5, 97.5]) if drawn else (math.nan, math.nan)
    exact = float(np.mean(ones == others))
    kappa = _kappa(ones, others, weighted)
    return Agreement(kappa, float(low), float(high), len(ones), exact, weighted)


def _kappa(ones: np.ndarray, others: np.ndarray, weighted: bool) -> float:
    from sklearn.metrics import cohen_kappa_score

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one verdict throughout: nan, which is said as such
        weights = "quadratic" if weighted else None
        return float(cohen_kappa_score(ones, others, weights=weights))
