"""Rejects rows that say exactly what an earlier row says: same question, same answer."""

from __future__ import annotations

from luthier.data.candidate import Candidate, Filter


def build() -> Filter:
    """No options."""
    return _ExactDuplicates()


class _ExactDuplicates:
    def __init__(self) -> None:
        self.seen: dict[str, str] = {}

    def __call__(self, row: Candidate) -> str | None:
        first = self.seen.get(row.example.id)
        return f"exact duplicate: of {first}" if first else None

    def remember(self, row: Candidate) -> None:
        self.seen[row.example.id] = str(row.example.origin)
