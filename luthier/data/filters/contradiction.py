"""Rejects rows that ask what an earlier row asks and answer something else."""

from __future__ import annotations

from luthier.data.candidate import Candidate, Filter
from luthier.example import content_id


def build() -> Filter:
    """No options. Case and white space do not make two questions different."""
    return _Contradiction()


class _Contradiction:
    def __init__(self) -> None:
        self.seen: dict[str, tuple[str, str]] = {}

    def __call__(self, row: Candidate) -> str | None:
        first = self.seen.get(self._key(row))
        if first is None or first[0] == row.answer:
            return None
        answer, origin = first
        shown = answer if len(answer) <= 60 else answer[:57] + "..."
        return f"contradiction: {origin} answers '{shown}' to the same input"

    def remember(self, row: Candidate) -> None:
        self.seen.setdefault(self._key(row), (row.answer, str(row.example.origin)))

    def _key(self, row: Candidate) -> str:
        return content_id([" ".join(row.question.casefold().split())])
