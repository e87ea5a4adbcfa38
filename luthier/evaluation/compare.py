"""Is the tuned model better than this baseline? Paired over the same rows."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from luthier.artifacts import Estimate
from luthier.evaluation.intervals import Z, percentiles, resample, value_of, wilson
from luthier.evaluation.outcome import Choices, Metric, Outcome

Bools = npt.NDArray[np.bool_]


class Comparison(NamedTuple):
    """The tuned model against one other system."""

    difference: Estimate | None
    """Tuned minus other on the metric, with a 95 % interval; None where it is not defined."""
    p_value: float | None
    """Exact McNemar test on which rows are right; None for free text."""


def compare(
    metric: Metric, tuned: Outcome, other: Outcome, *, samples: int, seed: int
) -> Comparison:
    """Compare two systems on the same rows.

    Shares of rows get Newcombe's interval, everything else the paired percentile bootstrap.

    Args:
        metric: the main metric.
        tuned: outcome of the tuned model.
        other: outcome of the other system, for the same rows in the same order.
        samples: bootstrap resamples.
        seed: of the resamples.
    """
    assert len(tuned) == len(other), (len(tuned), len(other))
    p_value = None
    if isinstance(tuned, Choices) and isinstance(other, Choices):
        p_value = mcnemar(tuned.correct, other.correct)
    value = value_of(metric, tuned) - value_of(metric, other)
    if not math.isfinite(value):
        return Comparison(None, p_value)
    if metric.proportion is not None:
        return Comparison(newcombe(metric.proportion(tuned), metric.proportion(other)), p_value)
    if not metric.resampled:
        return Comparison(Estimate(value=value), p_value)
    differences = resample(metric, tuned, samples=samples, seed=seed) - resample(
        metric, other, samples=samples, seed=seed
    )
    found = percentiles(differences)
    ends = found._asdict() if found else {}
    return Comparison(Estimate(value=value, **ends), p_value)


def newcombe(first: Bools, second: Bools) -> Estimate:
    """Difference of two paired shares with a 95 % interval.

    Newcombe 1998, "Improved confidence intervals for the difference between binomial proportions
    based on paired data", Statistics in Medicine 17:2635-2650, method 10 (square-and-add of
    Wilson intervals, with the continuity-corrected correlation).

    Args:
        first: (rows,) which rows count for the first system.
        second: (rows,) the same for the second.
    """
    rows = len(first)
    both, only_first = int((first & second).sum()), int((first & ~second).sum())
    only_second, neither = int((~first & second).sum()), int((~first & ~second).sum())
    p1, p2 = (both + only_first) / rows, (both + only_second) / rows
    low1, high1 = wilson(both + only_first, rows)
    low2, high2 = wilson(both + only_second, rows)
    margins = math.prod(
        [both + only_first, only_second + neither, both + only_second, only_first + neither]
    )
    association = float(both * neither - only_first * only_second)
    if association > 0:
        association = max(0.0, association - rows / 2)
    phi = association / math.sqrt(margins) if margins else 0.0

    def reach(a: float, b: float) -> float:
        return math.sqrt(max(0.0, a**2 - 2 * phi * a * b + b**2))

    difference = p1 - p2
    return Estimate(
        value=difference,
        low=max(-1.0, difference - reach(p1 - low1, high2 - p2)),
        high=min(1.0, difference + reach(high1 - p1, p2 - low2)),
    )


def mcnemar(first: Bools, second: Bools) -> float:
    """Two-sided exact p-value (McNemar 1947): are the discordant rows a fair coin's?"""
    from scipy.stats import binomtest

    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    if only_first + only_second == 0:
        return 1.0
    return float(binomtest(only_first, only_first + only_second, 0.5).pvalue)


def rows_for_reach(share: float, reach: float) -> int:
    """Test rows needed for a 95 % interval of about `share` plus or minus `reach`."""
    return math.ceil(share * (1 - share) * (Z / reach) ** 2)
