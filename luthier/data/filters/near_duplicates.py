"""Rejects rows that nearly repeat an earlier one (Jaccard similarity of word 3-grams)."""

from __future__ import annotations

from luthier.data.candidate import Candidate, Filter
from luthier.data.near import Entry, NearIndex
from luthier.errors import DataError


def build(*, similarity: float = 0.8) -> Filter:
    """Rows at least this similar to an earlier one are rejected.

    In classification, inputs of the same label are compared: two like sentences with different
    labels are the most instructive rows there are. Elsewhere question and answer are compared
    together.

    Args:
        similarity: in (0, 1].
    """
    if isinstance(similarity, bool) or not isinstance(similarity, (int, float)):
        raise DataError(f"filter 'near_duplicates': similarity is {similarity!r}, not a number.")
    if not 0 < similarity <= 1:
        raise DataError(f"filter 'near_duplicates': similarity is {similarity}, not in (0, 1].")
    return _NearDuplicates(similarity)


class _NearDuplicates:
    def __init__(self, similarity: float) -> None:
        self.similarity = similarity
        self.indexes: dict[str | None, tuple[NearIndex, list[str]]] = {}
        self.last: tuple[str, Entry] | None = None

    def __call__(self, row: Candidate) -> str | None:
        index, origins = self._index(row.example.label)
        entry = index.entry(self._text(row))
        self.last = (row.example.id, entry)
        found = index.similar(entry)
        if not found:
            return None
        number, similarity = max(found, key=lambda pair: pair[1])
        return f"near-duplicate: {similarity:.2f} similar to {origins[number]}"

    def remember(self, row: Candidate) -> None:
        index, origins = self._index(row.example.label)
        kept = self.last is not None and self.last[0] == row.example.id
        entry = self.last[1] if kept and self.last else index.entry(self._text(row))
        index.add(entry)
        origins.append(str(row.example.origin))

    def _text(self, row: Candidate) -> str:
        return row.question if row.example.label is not None else f"{row.question}\n{row.answer}"

    def _index(self, label: str | None) -> tuple[NearIndex, list[str]]:
        if label not in self.indexes:
            self.indexes[label] = (NearIndex(self.similarity), [])
        return self.indexes[label]
