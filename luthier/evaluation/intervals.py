"""Intervals: Wilson's for shares of rows, the percentile bootstrap over rows for the rest.

Near-duplicates are answered alike, so a group of them says less than as many other rows, and
intervals that took its rows for independent would be too narrow (Miller 2024, arXiv:2411.00640).
The bootstrap draws whole groups (the cluster bootstrap; Field & Welsh 2007, "Bootstrapping
clustered data", J. R. Statist. Soc. B 69:369-390); closed forms count with fewer rows (Rao &
Scott 1992, "A simple method for the analysis of clustered binary data", Biometrics 48:577-585).

Where all resamples have one value (a perfect AUROC, answers that all score 0), the bootstrap's
interval would have no width, whatever the number of rows. It is not given; metrics that can be
wrong by no more than so many unseen rows allow get the bound of `all_alike` instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from luthier.artifacts import Estimate
from luthier.evaluation.outcome import Floats, Ints, Metric, Outcome

CONFIDENCE = 0.95
Z = float(ndtri(0.5 + CONFIDENCE / 2))
CHUNK = 4_000_000
"""Weights held at once: samples x rows."""


class Interval(NamedTuple):
    """Lower and upper end."""

    low: float
    high: float


def wilson(hits: float, rows: float) -> Interval:
    """95 % score interval of a share (Wilson 1927); (0, 1) where there are no rows.

    Counts may be fractions: those of rows that are worth less than one (`design_effect`).
    """
    if not rows:
        return Interval(0.0, 1.0)
    share = hits / rows
    scale = 1 + Z**2 / rows
    centre = (share + Z**2 / (2 * rows)) / scale
    reach = Z / scale * np.sqrt(share * (1 - share) / rows + Z**2 / (4 * rows**2))
    # The ends are exact at 0 and 1, where rounding would leave 1e-17.
    low = 0.0 if hits == 0 else float(centre - reach)
    return Interval(low, 1.0 if hits == rows else float(centre + reach))


def design_effect(values: Floats, groups: Ints | None) -> float:
    """How many times larger the variance of a mean is than that of rows which stand alone.

    Rao & Scott 1992: the variance of the group totals' deviations over that of the rows'. Never
    below 1. Where all values are equal it is that of rows which always agree within their group,
    the largest there is: rows per group, weighted by rows.

    Args:
        values: (rows,) what the mean is of.
        groups: (rows,) numbers from 0 up; None: each row stands alone.
    """
    if groups is None:
        return 1.0
    sizes = np.bincount(groups)
    deviations = values - values.mean()
    alone = float((deviations**2).sum())
    if alone == 0 or len(sizes) == 1:
        return float((sizes**2).sum() / len(values))
    totals = np.bincount(groups, weights=deviations)
    together = float((totals**2).sum()) * len(sizes) / (len(sizes) - 1)
    return max(1.0, together / alone)


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
        counted = metric.proportion(outcome)
        effect = design_effect(counted.astype(np.float64), outcome.groups)
        ends = wilson(int(counted.sum()) / effect, len(outcome) / effect)
        return Estimate(value=value, **ends._asdict())
    if not metric.resampled:
        return Estimate(value=value)
    found = _interval(metric, outcome, value, resample(metric, outcome, samples=samples, seed=seed))
    return Estimate(value=value, **found._asdict()) if found else Estimate(value=value)


def _interval(metric: Metric, outcome: Outcome, value: float, drawn: Floats) -> Interval | None:
    """The percentile interval, or what stands in for one that has no width."""
    if is_flat(drawn):
        bound = metric.alike(outcome, value) if metric.alike is not None else None
        return Interval(*bound) if bound else None
    found = percentiles(drawn)
    # Most resamples alike: an interval without width says no more than all of them alike.
    return None if found is None or is_flat(np.array(found)) else found


def is_flat(values: Floats) -> bool:
    """Whether all defined values are one and the same, but for rounding."""
    defined = values[np.isfinite(values)]
    if not len(defined):
        return True
    return bool(np.ptp(defined) <= 1e-9 * max(1.0, float(np.abs(defined).max())))


def all_alike(value: float, rows: float, low: float, high: float) -> Interval | None:
    """95 % interval of a mean where each of `rows` independent rows has the same `value`.

    With x = 0.025^(1/rows), at most a share 1 - x of all rows has another value: more would have
    shown (Clopper & Pearson 1934, Biometrika 26:404-413, for 0 of n; the "rule of three" of Hanley
    & Lippman-Hand 1983, JAMA 249:1743-1745). Wherever these lie, the mean is in the interval.

    Args:
        value: of every row.
        rows: how many; may be a fraction, None is given for none.
        low: the least value a row can have.
        high: the greatest.
    """
    if rows <= 0:
        return None
    others = 1 - ((1 - CONFIDENCE) / 2) ** (1 / rows)
    return Interval(value - others * (value - low), value + others * (high - value))


def worth(outcome: Outcome) -> float:
    """How many rows that stand alone say as much as these where all agree (`design_effect`)."""
    return len(outcome) / design_effect(np.zeros(len(outcome)), outcome.groups)


def value_of(metric: Metric, outcome: Outcome) -> float:
    """The metric over all rows; NaN where they do not define it."""
    return float(metric.prepare(outcome)(np.ones((1, len(outcome))))[0])


def resample(metric: Metric, outcome: Outcome, *, samples: int, seed: int) -> Floats:
    """(samples,) values over rows, or whole groups of near-duplicates, drawn with repetition.

    Equal seeds, row counts and groups draw the same rows, so two systems can be compared in
    pairs. NaN where all rows are one group: there is nothing to draw.
    """
    rows, groups = len(outcome), outcome.groups
    count = rows if groups is None else int(groups.max()) + 1
    if groups is not None and count == 1:
        return np.full(samples, np.nan)
    statistic = metric.prepare(outcome)
    drawn = _weights(count, samples, seed, chunk=max(1, CHUNK // rows))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.concatenate([statistic(w if groups is None else w[:, groups]) for w in drawn])


def percentiles(values: Floats) -> Interval | None:
    """Percentile interval; None where fewer than half of the resamples are defined."""
    defined = values[np.isfinite(values)]
    if len(defined) * 2 < len(values):
        return None
    low, high = np.quantile(defined, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    return Interval(float(low), float(high))


def _weights(things: int, samples: int, seed: int, *, chunk: int) -> Iterator[Floats]:
    """How often each thing is drawn, (up to `chunk` samples, things) at a time."""
    rng = np.random.default_rng(seed)
    for start in range(0, samples, chunk):
        count = min(chunk, samples - start)
        drawn = rng.integers(things, size=(count, things)) + things * np.arange(count)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=things * count)
        yield counts.reshape(count, things).astype(np.float64)
