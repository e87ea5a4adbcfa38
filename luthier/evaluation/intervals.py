"""Intervals: Wilson's for shares of rows, the percentile bootstrap over rows for the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from luthier.artifacts import Estimate
from luthier.evaluation.outcome import Floats, Metric, Outcome

CONFIDENCE = 0.95
Z = float(ndtri(0.5 + CONFIDENCE / 2))
CHUNK = 4_000_000
"""Weights held at once: samples x rows."""


class Interval(NamedTuple):
    """Lower and upper end."""

    low: float
    high: float


def wilson(hits: int, rows: int) -> Interval:
    """95 % score interval of a share (Wilson 1927); (0, 1) where there are no rows."""
    if not rows:
        return Interval(0.0, 1.0)
    share = hits / rows
    scale = 1 + Z**2 / rows
    centre = (share + Z**2 / (2 * rows)) / scale
    reach = Z / scale * np.sqrt(share * (1 - share) / rows + Z**2 / (4 * rows**2))
    # The ends are exact at 0 and 1, where rounding would leave 1e-17.
    low = 0.0 if hits == 0 else float(centre - reach)
    return Interval(low, 1.0 if hits == rows else float(centre + reach))


def estimate(metric: Metric, outcome: Outcome, *, samples: int, seed: int) -> Estimate | None:
    """Value of a metric with its 95 % interval; None where the rows do not define it.

    Args:
        metric: what to compute.
        outcome: of one system.
        samples: bootstrap resamples.
        seed: of the resamples.
    """
    if not len(outcome):
        return None
    value = value_of(metric, outcome)
    if not np.isfinite(value):
        return None
    if metric.proportion is not None:
        hits = int(metric.proportion(outcome).sum())
        return Estimate(value=value, **wilson(hits, len(outcome))._asdict())
    if not metric.resampled:
        return Estimate(value=value)
    found = percentiles(resample(metric, outcome, samples=samples, seed=seed))
    return Estimate(value=value, **found._asdict()) if found else Estimate(value=value)


def value_of(metric: Metric, outcome: Outcome) -> float:
    """The metric over all rows; NaN where they do not define it."""
    return float(metric.prepare(outcome)(np.ones((1, len(outcome))))[0])


def resample(metric: Metric, outcome: Outcome, *, samples: int, seed: int) -> Floats:
    """(samples,) values over rows drawn with repetition.

    Equal seeds and row counts draw the same rows, so two systems can be compared in pairs.
    """
    statistic = metric.prepare(outcome)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.concatenate([statistic(w) for w in _weights(len(outcome), samples, seed)])


def percentiles(values: Floats) -> Interval | None:
    """Percentile interval; None where fewer than half of the resamples are defined."""
    defined = values[np.isfinite(values)]
    if len(defined) * 2 < len(values):
        return None
    low, high = np.quantile(defined, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    return Interval(float(low), float(high))


def _weights(rows: int, samples: int, seed: int) -> Iterator[Floats]:
    rng = np.random.default_rng(seed)
    step = max(1, CHUNK // rows)
    for start in range(0, samples, step):
        count = min(step, samples - start)
        drawn = rng.integers(rows, size=(count, rows)) + rows * np.arange(count)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * count)
        yield counts.reshape(count, rows).astype(np.float64)
