"""Spellings that stand for the same label: other case, white space, a slip of the keyboard."""

from __future__ import annotations

import re
from collections.abc import Mapping

_RARE, _TIMES = 3, 10
"""A slip is made up to three times, and the label it was meant to be has ten times its rows."""
_SHORTEST, _LONG = 4, 8
"""Letters of a label that can be told from a slip; from eight on, two letters may be wrong."""


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
