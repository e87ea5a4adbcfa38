"""Rejects rows that nearly repeat an earlier one (Jaccard similarity of word 3-grams)."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Callable, Sequence

from luthier.data.candidate import Candidate, Filter, require_similarity
from luthier.data.linting.lint_report import Severity
from luthier.data.near import Entry, NearIndex
from luthier.data.places import Places
from luthier.data.shingles import BLOCK

SEVERITY: Severity = "warning"
FIX = "Keep one of the rows; `use: near_duplicates` leaves the others out of a build."


def build(*, similarity: float = 0.8) -> Filter:
    """Rows at least this similar to an earlier one are rejected.

    In classification, inputs of the same label are compared: two like sentences with different
    labels are the most instructive rows there are. Elsewhere question and answer are compared
    together; where an instruction stands apart from its inputs, the inputs of one instruction.

    Args:
        similarity: in (0, 1].
    """
    require_similarity("near_duplicates", similarity)
    return _NearDuplicates(similarity)


class _NearDuplicates:
    def __init__(self, similarity: float) -> None:
        self.index = NearIndex(similarity)
        self.places = Places()
        self.prepared: dict[int, tuple[weakref.ref[Candidate], Entry]] = {}
        """By the `id` of the row, as long as there is the row: another filter may leave it out."""

    def prepare(self, rows: Sequence[Candidate]) -> None:
        """Rows that are going to be judged one after another: together they are faster read."""
        for start in range(0, len(rows), BLOCK):
            some = rows[start : start + BLOCK]
            entries = self.index.entries([_text(r) for r in some], [_scope(r) for r in some])
            for row, entry in zip(some, entries, strict=True):
                self.prepared[id(row)] = weakref.ref(row, self._forgetting(id(row))), entry

    def _forgetting(self, key: int) -> Callable[[weakref.ref[Candidate]], None]:
        prepared = self.prepared

        def forget(gone: weakref.ref[Candidate]) -> None:
            # Another row may have got the same `id` by now.
            if key in prepared and prepared[key][0] is gone:
                del prepared[key]

        return forget

    def __call__(self, row: Candidate) -> str | None:
        found = self.index.similar(self._entry(row))
        if not found:
            return None
        number, similarity = max(found, key=lambda pair: pair[1])
        return f"near-duplicate: {similarity:.2f} similar to {self.places[number]}"

    def remember(self, row: Candidate) -> None:
        self.index.add(self._entry(row))
        self.places.append(row.example.origin)

    def _entry(self, row: Candidate) -> Entry:
        if id(row) not in self.prepared:
            self.prepare([row])
        return self.prepared[id(row)][1]


def _text(row: Candidate) -> str:
    return row.subject if row.example.label is not None else f"{row.subject}\n{row.answer}"


def _scope(row: Candidate) -> int:
    """Rows are compared within a label, and within an instruction that stands apart."""
    if row.example.label is None and not row.shared:
        return 0
    label = f"{row.example.label}\0{row.shared}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(label, digest_size=8).digest(), "little")
