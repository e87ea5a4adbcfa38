"""How well something about a row predicts its label: what a model may learn instead of the task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import NamedTuple

_CHANCE = 1e-6
"""Chance below which an association is no accident (chi-squared test of independence)."""
_MOST_KEYS = 1000


class Predicts(NamedTuple):
    """How often the label is right when guessed from a key, and when the commonest is guessed."""

    accuracy: float
    majority: float


class Association:
    """Counts of (key, label)."""

    def __init__(self) -> None:
        """Start empty."""
        self.counts: Counter[tuple[Hashable, str]] = Counter()
        self.keys: Counter[Hashable] = Counter()
        self.labels: Counter[str] = Counter()
        self.seen = 0
        """Rows counted, those left out among them."""

    def add(self, key: Hashable, label: str, rows: int = 1) -> None:
        """Count rows; beyond a thousand keys, those of further ones are left out."""
        self.seen += rows
        if len(self.keys) < _MOST_KEYS or key in self.keys:
            self.counts[key, label] += rows
            self.keys[key] += rows
            self.labels[label] += rows

    @property
    def rows(self) -> int:
        """Rows counted."""
        return self.keys.total()

    def strength(self) -> Predicts:
        """Accuracy of guessing the commonest label of each key, and of all rows."""
        best: Counter[Hashable] = Counter()
        for (key, _), count in self.counts.items():
            best[key] = max(best[key], count)
        total = max(self.rows, 1)
        return Predicts(best.total() / total, max(self.labels.values(), default=0) / total)

    def is_no_accident(self) -> bool:
        """Whether key and label depend on each other beyond chance."""
        from scipy.stats import chi2_contingency

        if len(self.keys) < 2 or len(self.labels) < 2:
            return False
        table = [[self.counts[key, label] for label in self.labels] for key in self.keys]
        return float(chi2_contingency(table).pvalue) < _CHANCE
