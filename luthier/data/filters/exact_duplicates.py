"""Rejects rows that say exactly what an earlier row says: same question, same answer."""

from __future__ import annotations

from luthier.data.candidate import Candidate, Filter
from luthier.data.ids import Ids
from luthier.data.linting.lint_report import Severity
from luthier.data.places import Places

SEVERITY: Severity = "warning"
FIX = "Delete the copies; `use: exact_duplicates` leaves them out of a build."


def build() -> Filter:
    """No options."""
    return _ExactDuplicates()


class _ExactDuplicates:
    def __init__(self) -> None:
        self.ids = Ids()
        self.places = Places()

    def __call__(self, row: Candidate) -> str | None:
        first = self.ids.number(int(row.content, 16))
        return None if first is None else f"exact duplicate: of {self.places[first]}"

    def remember(self, row: Candidate) -> None:
        self.ids.add(int(row.content, 16))
        self.places.append(row.example.origin)
