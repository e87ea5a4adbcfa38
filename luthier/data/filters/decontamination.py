"""Rejects rows that a test file has too, word for word or nearly, naming the row matched."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.data.candidate import Candidate, Filter, require_similarity
from luthier.data.held_out import HeldOut
from luthier.data.linting.lint_report import Severity
from luthier.errors import DataError

SEVERITY: Severity = "error"
FIX = "Delete the row: what is trained on can no longer test."
FILES = ("against",)
"""Options that name files, relative to the recipe."""


def build(*, against: str | Sequence[str], similarity: float = 0.8) -> Filter:
    """Rows that share 13 words in a row with a test row, or resemble one.

    13-grams of lower-case words without punctuation, those that more than ten test rows share left
    out, as in GPT-3 (arXiv 2005.14165, appendix C), of all texts of a test row: question, answer,
    passage, choices. A shorter test row must be the whole question. Questions are also compared as
    near-duplicates (word 3-grams).

    Args:
        against: the test file, or several, in any format that can be read.
        similarity: Jaccard similarity of questions, in (0, 1].
    """
    files = [against] if isinstance(against, str) else list(against)
    if not files or not all(isinstance(name, str) and name for name in files):
        raise DataError(
            f"filter 'decontamination': against is {against!r}, expected a list of files."
        )
    require_similarity("decontamination", similarity)
    tests = HeldOut(files, similarity)

    def decontamination(row: Candidate) -> str | None:
        found = tests.like(row.question, row.answer)
        return f"test data: {found}" if found else None

    return decontamination
