"""Spellings that stand for the same label: other case, white space, a slip of the keyboard."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from luthier.data.candidate import Candidate
from luthier.example import Origin

_RARE, _TIMES = 3, 10
"""A slip is made up to three times, and the label it was meant to be has ten times its rows."""
_SHORTEST, _LONG = 4, 8
"""Letters of a label that can be told from a slip; from eight on, two letters may be wrong."""


class LabelCounts:
    """Rows of every label, and where each was seen first.

    Args:
        most: labels that are counted; free text in the place of a label must not fill the memory.
    """

    def __init__(self, most: int) -> None:
        self.rows: Counter[str] = Counter()
        self.first: dict[str, Origin] = {}
        self._most = most

    def see(self, row: Candidate) -> None:
        """Count a row, if it has a label."""
        label = row.example.label
        if label is not None and (label in self.rows or len(self.rows) < self._most):
            self.rows[label] += 1
            self.first.setdefault(label, row.example.origin)


def folded(label: str) -> str:
    """A label without case, surrounding punctuation and extra white space."""
    return " ".join(label.casefold().split()).strip(" .\"'`*_")


def meant(label: str, counts: Mapping[str, int]) -> str | None:
    """The common label that a rare one is a slip of; None where it is none.

    Args:
        label: a label.
        counts: rows of every label.
    """
    from rapidfuzz.distance import DamerauLevenshtein

    count = counts[label]
    if count > _RARE or len(label) < _SHORTEST:
        return None
    most = 1 if len(label) < _LONG else 2
    for common, rows in counts.items():
        if rows < _TIMES * count or folded(common) == folded(label):
            continue
        apart = DamerauLevenshtein.distance(label, common, score_cutoff=most)
        if apart <= most and _letters(label) != _letters(common):
            return common
    return None


def _letters(label: str) -> str:
    """A label without its digits: `grade 1` is no slip for `grade 2`."""
    return re.sub(r"\d+|\W+", "", label.casefold())
