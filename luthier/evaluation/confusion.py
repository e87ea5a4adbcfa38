"""Which label was taken for which, and precision, recall and F1 per label."""

from __future__ import annotations

import numpy as np

from luthier.artifacts import LabelScores
from luthier.evaluation.outcome import Choices, Floats, Ints


def confusion(choices: Choices) -> Ints:
    """(labels, labels) rows counted by [gold label][predicted label]."""
    size = len(choices.labels)
    cells = np.bincount(choices.gold * size + choices.predicted, minlength=size * size)
    return cells.reshape(size, size).astype(np.int64)


def label_table(choices: Choices) -> dict[str, LabelScores]:
    """Precision, recall and F1 of each label; 0 where nothing was predicted or nothing is gold."""
    table = confusion(choices)
    hits, gold, predicted = table.diagonal(), table.sum(axis=1), table.sum(axis=0)
    return {
        label: LabelScores(
            precision=_share(hits[i], predicted[i]),
            recall=_share(hits[i], gold[i]),
            f1=_share(2 * hits[i], gold[i] + predicted[i]),
            support=int(gold[i]),
        )
        for i, label in enumerate(choices.labels)
    }


def weighted_f1(choices: Choices, weights: Floats) -> Floats:
    """F1 per label under row weights.

    Args:
        choices: of one system.
        weights: (samples, rows).

    Returns:
        (samples, labels); NaN where a label is neither gold nor predicted.
    """
    labels = np.arange(len(choices.labels))
    gold = (choices.gold[:, None] == labels).astype(np.float64)
    predicted = (choices.predicted[:, None] == labels).astype(np.float64)
    hits = weights @ (gold * predicted)
    seen = weights @ (gold + predicted)
    return np.divide(2 * hits, seen, out=np.full_like(seen, np.nan), where=seen > 0)


def _share(part: int, whole: int) -> float:
    return float(part / whole) if whole else 0.0
