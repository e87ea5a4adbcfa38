"""Rejects rows that are too short or too long, in words of the question or in tokens."""

from __future__ import annotations

from luthier.data.candidate import Candidate, Filter
from luthier.data.linting.lint_report import Severity
from luthier.errors import DataError

SEVERITY: Severity = "warning"
FIX = "Split or complete the row, delete it, or move the bounds."


def build(
    *, min_words: int = 1, max_words: int | None = None, max_tokens: int | None = None
) -> Filter:
    """Bounds on the length, both ends included.

    Args:
        min_words: fewest words of the question (separated by white space).
        max_words: most words of the question.
        max_tokens: most tokens of the whole rendered row.
    """
    limits = {"min_words": min_words, "max_words": max_words, "max_tokens": max_tokens}
    for name, limit in limits.items():
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int)):
            raise DataError(f"filter 'length': {name} is {limit!r}, expected a whole number.")
        if limit is not None and limit < (name != "min_words"):
            raise DataError(f"filter 'length': {name} is {limit}, which leaves no row.")
    if max_words is not None and max_words < min_words:
        raise DataError(
            f"filter 'length': max_words is {max_words}, below min_words ({min_words})."
        )

    def length(row: Candidate) -> str | None:
        words = len(row.question.split())
        if words < min_words:
            return f"too short: {words} words, the least is {min_words} (length.min_words)"
        if max_words is not None and words > max_words:
            return f"too long: {words} words, the limit is {max_words} (length.max_words)"
        if max_tokens is not None and (tokens := len(row.rendered.input_ids)) > max_tokens:
            return f"too long: {tokens} tokens, the limit is {max_tokens} (length.max_tokens)"
        return None

    return length
