"""Is one way of training better than another? Several seeds, all judged on the same rows.

Two things are drawn at random: the seed (of the training, and of the rows that are trained on) and
the rows that are judged. They are crossed, as readers and cases are where readers of images are
compared: every seed's model judges every row. An interval over rows alone would say only something
of these very models, one over seeds alone only something of these very rows. So both are counted as
Obuchowski & Rockette 1995 do ("Hypothesis testing of diagnostic accuracy for multiple readers and
multiple tests", Commun. Statist. Simula. 24:285-308), with the degrees of freedom of Hillis 2007
("A comparison of denominator degrees of freedom methods for multiple observer ROC analysis",
Statist. Med. 26:596-619). They hold for any figure; its covariance between seeds, which the shared
rows bring, comes from the bootstrap over rows (`intervals.resample`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student

from luthier.artifacts import Estimate
from luthier.evaluation.intervals import CONFIDENCE, is_flat, resample, value_of
from luthier.evaluation.outcome import Floats, Metric, Outcome


class OverSeeds(NamedTuple):
    """A figure, or the difference of two, over seeds and rows."""

    estimate: Estimate
    """Mean over the seeds with its 95 % interval; no interval where the bootstrap has none."""
    by_seed: list[float]
    reach: float | None
    """Half of the interval: a difference smaller than that could not be told from none."""


def over_seeds(
    metric: Metric, outcomes: Sequence[Outcome], *, samples: int, seed: int
) -> OverSeeds | None:
    """A metric's mean over the models of several seeds; None where a model does not define it.

    Args:
        metric: what is computed.
        outcomes: one per seed, of the same rows in the same order.
        samples: bootstrap resamples of the rows.
        seed: of the resamples.
    """
    values = [value_of(metric, outcome) for outcome in outcomes]
    drawn = _drawn(metric, outcomes, samples, seed)
    return _pooled(values, drawn, metric.bounds)


def compare_seeds(
    metric: Metric,
    ones: Sequence[Outcome],
    others: Sequence[Outcome],
    *,
    samples: int,
    seed: int,
) -> OverSeeds | None:
    """The first way of training minus the second, paired over rows and over seeds.

    With one seed only the rows are counted, and the interval says nothing of how another seed would
    have come out. Where no resample of the rows changes anything, as with models that answer all
    rows alike, there is no interval.

    Args:
        metric: what is compared.
        ones: outcomes of the first, one per seed, all of the same rows in the same order.
        others: those of the second, for the same seeds.
        samples: bootstrap resamples of the rows.
        seed: of the resamples.
    """
    assert len(ones) == len(others), (len(ones), len(others))
    values = [
        value_of(metric, one) - value_of(metric, other)
        for one, other in zip(ones, others, strict=True)
    ]
    first, second = (_drawn(metric, found, samples, seed) for found in (ones, others))
    drawn = None if first is None or second is None else first - second
    bounds = metric.bounds and (
        metric.bounds[0] - metric.bounds[1],
        metric.bounds[1] - metric.bounds[0],
    )
    return _pooled(values, drawn, bounds)


def _drawn(metric: Metric, outcomes: Sequence[Outcome], samples: int, seed: int) -> Floats | None:
    """(seeds, samples) values over the same resamples of the rows for all."""
    if not metric.resampled:
        return None
    return np.stack([resample(metric, o, samples=samples, seed=seed) for o in outcomes])


def _pooled(
    values: Sequence[float], drawn: Floats | None, bounds: tuple[float, float] | None
) -> OverSeeds | None:
    if not all(map(math.isfinite, values)):
        return None
    mean, seeds = float(np.mean(values)), len(values)
    without = OverSeeds(Estimate(value=mean), list(values), None)
    if drawn is None:
        return without
    whole = np.flatnonzero(np.isfinite(drawn).all(axis=0))
    if 2 * len(whole) < drawn.shape[1] or all(is_flat(row) for row in drawn[:, whole]):
        return without
    covariance = np.atleast_2d(np.cov(drawn[:, whole]))
    own = float(np.mean(np.diag(covariance)))
    if seeds == 1:
        variance, freedom = own, math.inf
    else:
        shared = max(0.0, float(covariance[~np.eye(seeds, dtype=bool)].mean()))
        between = float(np.var(values, ddof=1))
        # Seeds that are equal by luck still differ by what their rows' own chance allows.
        variance = max(between, own - shared) / seeds + shared
        found = between / seeds
        freedom = (seeds - 1) * (variance / found) ** 2 if found > 0 else math.inf
    if variance <= 0:
        return without
    reach = float(student.ppf(0.5 + CONFIDENCE / 2, freedom)) * math.sqrt(variance)
    low, high = mean - reach, mean + reach
    if bounds is not None:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    return OverSeeds(Estimate(value=mean, low=low, high=high), list(values), reach)
