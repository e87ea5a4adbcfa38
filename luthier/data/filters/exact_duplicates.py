"""Rejects rows that say exactly what an earlier row says: same question, same answer."""

from __future__ import annotations

from luthier.data.candidate import Candidate, Filter
from luthier.data.linting.lint_report import Severity
from luthier.data.places import Places

SEVERITY: Severity = "warning"
FIX = "Delete the copies; `use: exact_duplicates` leaves them out of a build."


def build() -> Filter:
    """No options."""
    return _ExactDuplicates()


class _ExactDuplicates:
    def __init__(self) -> None:
        self.seen: dict[str, int] = {}
        self.places = Places()

    def __call__(self, row: Candidate) -> str | None:
        first = self.seen.get(row.example.id)
        return None if first is None else f"exact duplicate: of {self.places[first]}"

    def remember(self, row: Candidate) -> None:
        self.seen.setdefault(row.example.id, len(self.places))
        self.places.append(row.example.origin)
