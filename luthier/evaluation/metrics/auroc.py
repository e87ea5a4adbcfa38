"""Area under the ROC curve: how often a positive row outranks a negative one.

With two labels it is about the recipe's positive label; with more, the mean of one-vs-rest over
the labels that have both kinds of rows. Ties count one half. Where all pairs are won, or all lost,
or all tied, the interval is what so many pairs without a row in common allow.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import logsumexp

from luthier.evaluation.intervals import all_alike
from luthier.evaluation.outcome import Choices, Floats, Ints, Metric

FITS = ("classification",)


def build() -> Metric:
    """Build the metric."""
    return Metric("auroc", "higher", _prepare, alike=_alike, bounds=(0.0, 1.0))


def _prepare(choices: Choices) -> Callable[[Floats], Floats]:
    curves = [_area(_odds(choices.scores, c), choices.gold == c) for c in _present(choices)]

    def statistic(weights: Floats) -> Floats:
        if not curves:
            return np.full(len(weights), np.nan)
        areas = np.stack([area(weights) for area in curves], axis=1)
        defined = np.isfinite(areas)
        total = np.where(defined, areas, 0).sum(axis=1)
        count = defined.sum(axis=1)
        return np.divide(total, count, out=np.full(len(weights), np.nan), where=count > 0)

    return statistic


def _present(choices: Choices) -> list[int]:
    """The labels whose curves are drawn."""
    labels = range(len(choices.labels))
    if len(choices.labels) == 2:
        labels = [choices.labels.index(choices.positive)]  # type: ignore[assignment]
    return [c for c in labels if 0 < (choices.gold == c).sum() < len(choices)]


def _alike(choices: Choices, value: float) -> tuple[float, float] | None:
    """Interval of an area that no resample changes: all pairs are won, lost, or tied.

    The area is the chance that a pair of a positive and a negative row is won. Pairs without a
    row in common are independent, so as many as there can be stand for the rows of a share.
    """
    if value not in (0.0, 0.5, 1.0):
        return None
    bounds = [
        all_alike(value, _separate_pairs(choices.gold == c, choices.groups), 0.0, 1.0)
        for c in _present(choices)
    ]
    known = [bound for bound in bounds if bound is not None]
    if not known or len(known) < len(bounds):
        return None
    # Each label alone would have shown: so the mean of the bounds bounds the mean of the areas.
    low, high = np.mean(known, axis=0)
    return float(low), float(high)


def _separate_pairs(positive: np.ndarray, groups: Ints | None) -> int:
    """How many pairs of a positive and a negative can be made so that none shares a group."""
    names = np.arange(len(positive)) if groups is None else groups
    ours, theirs = set(names[positive].tolist()), set(names[~positive].tolist())
    return min(len(ours), len(theirs), len(ours | theirs) // 2)


def _odds(scores: Floats, label: int) -> Floats:
    """Log-odds of a label, nats: ranks as its probability does, without saturating at 1.

    Rounded, so that rows with equal scores in another order of the labels still tie.
    """
    others: Floats = logsumexp(np.delete(scores, label, axis=1), axis=1)
    with np.errstate(invalid="ignore"):
        odds = np.round(scores[:, label] - others, 9)
    return np.nan_to_num(odds, nan=0.0, posinf=1e300, neginf=-1e300)


def _area(score: Floats, positive: np.ndarray) -> Callable[[Floats], Floats]:
    order = np.argsort(score, kind="stable")
    ranked, is_positive = score[order], positive[order]
    wins = order[is_positive]
    first: Ints = np.searchsorted(ranked, ranked[is_positive], side="left").astype(np.int64)
    after: Ints = np.searchsorted(ranked, ranked[is_positive], side="right").astype(np.int64)

    def statistic(weights: Floats) -> Floats:
        negatives = np.where(is_positive, 0.0, weights[:, order])
        below = np.zeros((len(weights), len(order) + 1))
        np.cumsum(negatives, axis=1, out=below[:, 1:])
        ours = weights[:, wins]
        beaten = (ours * (below[:, first] + below[:, after])).sum(axis=1) / 2
        pairs = ours.sum(axis=1) * below[:, -1]
        return np.divide(beaten, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)

    return statistic
