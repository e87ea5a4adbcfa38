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
        human: what people said: numbers, which are rounded to whole ones, or names of verdicts.
        judged: what the judge said of the same rows, of the same kind.
        seed: of the resampling.

    Raises:
        DataError: there are too few rows, or a number is not finite.
    """
    if len(human) < FEWEST:
        raise DataError(
            f"{len(human)} rows have a verdict by people; agreement needs at least {FEWEST}."
        )
    weighted = all(isinstance(v, (int, float)) for v in (*human, *judged))
    ones, others = np.array(human), np.array(judged)
    labels = None
    if weighted:
        ones, others = np.rint(ones.astype(float)), np.rint(others.astype(float))
        both = np.concatenate([ones, others])
        if not np.isfinite(both).all():
            raise DataError("agreement: a verdict is not a finite number.")
        # Also those that nobody gave: how far 2 and 5 are apart does not depend on a 3.
        labels = np.arange(both.min(), both.max() + 1)
    chance = np.random.default_rng(seed)
    drawn = []
    for _ in range(_RESAMPLES):
        rows = chance.integers(0, len(ones), len(ones))
        kappa = _kappa(ones[rows], others[rows], labels)
        if not math.isnan(kappa):
            drawn.append(kappa)
    low, high = np.percentile(drawn, [2.5, 97.5]) if drawn else (math.nan, math.nan)
    exact = float(np.mean(ones == others))
    kappa = _kappa(ones, others, labels)
    return Agreement(kappa, float(low), float(high), len(ones), exact, weighted)


def _kappa(ones: np.ndarray, others: np.ndarray, labels: np.ndarray | None) -> float:
    """Kappa; weighted where the verdicts are numbers, `labels` all that there can be."""
    from sklearn.metrics import cohen_kappa_score

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one verdict throughout: nan, which is said as such
        weights = None if labels is None else "quadratic"
        return float(cohen_kappa_score(ones, others, labels=labels, weights=weights))
