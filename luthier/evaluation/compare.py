"""Is the tuned model better than this baseline? Paired over the same rows."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from luthier.artifacts import Estimate
from luthier.evaluation.intervals import (
    Z,
    design_effect,
    estimate,
    is_flat,
    percentiles,
    resample,
    value_of,
    wilson,
)
from luthier.evaluation.outcome import Choices, Ints, Metric, Outcome

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

    Shares of rows get Newcombe's interval, everything else the paired percentile bootstrap; in
    all of it near-duplicates count as `intervals` says. The bootstrap knows nothing of a system
    whose resamples are all alike (a perfect score): there the systems' own intervals are put
    together, and where one has none and the difference is always the same, it has none.

    Args:
        metric: the main metric.
        tuned: outcome of the tuned model.
        other: outcome of the other system, for the same rows in the same order.
        samples: bootstrap resamples.
        seed: of the resamples.
    """
    assert len(tuned) == len(other), (len(tuned), len(other))
    groups = tuned.groups
    assert np.array_equal(groups, other.groups), "not the same rows"  # type: ignore[arg-type]
    p_value = None
    if isinstance(tuned, Choices) and isinstance(other, Choices):
        p_value = mcnemar(tuned.correct, other.correct, groups)
    value = value_of(metric, tuned) - value_of(metric, other)
    if not math.isfinite(value):
        return Comparison(None, p_value)
    if metric.proportion is not None:
        shares = metric.proportion(tuned), metric.proportion(other)
        return Comparison(newcombe(*shares, groups), p_value)
    if not metric.resampled:
        return Comparison(Estimate(value=value), p_value)
    first = resample(metric, tuned, samples=samples, seed=seed)
    second = resample(metric, other, samples=samples, seed=seed)
    differences = first - second
    if is_flat(first) or is_flat(second) or is_flat(differences):
        one, two = (estimate(metric, o, samples=samples, seed=seed) for o in (tuned, other))
        if one and two and (put_together := square_and_add(one, two)):
            return Comparison(put_together, p_value)
    found = None if is_flat(differences) else percentiles(differences)
    ends = found._asdict() if found else {}
    return Comparison(Estimate(value=value, **ends), p_value)


def square_and_add(first: Estimate, second: Estimate) -> Estimate | None:
    """Difference of two figures from their own intervals; None where one has none.

    Zou & Donner 2008, "Construction of confidence limits about effect measures: a general
    approach", Statistics in Medicine 27:1693-1702, without correlation: systems that are right on
    the same rows differ by less than this says.
    """
    if first.low is None or first.high is None or second.low is None or second.high is None:
        return None
    difference = first.value - second.value
    return Estimate(
        value=difference,
        low=difference - math.hypot(first.value - first.low, second.high - second.value),
        high=difference + math.hypot(first.high - first.value, second.value - second.low),
    )


def newcombe(first: Bools, second: Bools, groups: Ints | None = None) -> Estimate:
    """Difference of two paired shares with a 95 % interval.

    Newcombe 1998, "Improved confidence intervals for the difference between binomial proportions
    based on paired data", Statistics in Medicine 17:2635-2650, method 10 (square-and-add of
    Wilson intervals, with the continuity-corrected correlation). All counts are divided by the
    design effect of the difference.

    Args:
        first: (rows,) which rows count for the first system.
        second: (rows,) the same for the second.
        groups: (rows,) numbers of groups of near-duplicates; None: each row stands alone.
    """
    rows = len(first)
    effect = design_effect(first.astype(np.float64) - second, groups)
    both, only_first = int((first & second).sum()), int((first & ~second).sum())
    only_second, neither = int((~first & second).sum()), int((~first & ~second).sum())
    p1, p2 = (both + only_first) / rows, (both + only_second) / rows
    low1, high1 = wilson((both + only_first) / effect, rows / effect)
    low2, high2 = wilson((both + only_second) / effect, rows / effect)
    margins = math.prod(
        [both + only_first, only_second + neither, both + only_second, only_first + neither]
    )
    association = float(both * neither - only_first * only_second)
    if association > 0:
        association = max(0.0, association - effect * rows / 2)
    phi = association / math.sqrt(margins) if margins else 0.0

    def reach(a: float, b: float) -> float:
        return math.sqrt(max(0.0, a**2 - 2 * phi * a * b + b**2))

    difference = p1 - p2
    return Estimate(
        value=difference,
        low=max(-1.0, difference - reach(p1 - low1, high2 - p2)),
        high=min(1.0, difference + reach(high1 - p1, p2 - low2)),
    )


def mcnemar(first: Bools, second: Bools, groups: Ints | None = None) -> float:
    """Two-sided exact p-value (McNemar 1947): are the discordant rows a fair coin's?

    One throw decides for a whole group: over all ways of swapping the two systems group by
    group, how often is one ahead by as many rows? With rows that stand alone this is McNemar's
    test.

    Args:
        first: (rows,) where the first system is right.
        second: (rows,) the same for the second.
        groups: (rows,) numbers of groups of near-duplicates; None: each row stands alone.
    """
    from scipy.stats import binom, binomtest

    ahead = first.astype(np.int64) - second
    if groups is not None:
        ahead = np.rint(np.bincount(groups, weights=ahead)).astype(np.int64)
    ahead = ahead[ahead != 0]
    if not len(ahead):
        return 1.0
    sizes, counts = np.unique(np.abs(ahead), return_counts=True)
    if sizes[-1] == 1:
        return float(binomtest(int((ahead > 0).sum()), len(ahead), 0.5).pvalue)
    # Chances of the rows that go to the first system, groups of one size after another.
    chances = np.ones(1)
    for size, count in zip(sizes, counts, strict=True):
        won = np.zeros(size * count + 1)
        won[::size] = binom.pmf(np.arange(count + 1), count, 0.5)
        chances = np.convolve(chances, won)
    lead = np.abs(2 * np.arange(len(chances)) - (len(chances) - 1))
    return min(1.0, float(chances[lead >= abs(int(ahead.sum()))].sum()))


def rows_for_reach(share: float, reach: float) -> int:
    """Test rows needed for a 95 % interval of about `share` plus or minus `reach`."""
    return math.ceil(share * (1 - share) * (Z / reach) ** 2)
