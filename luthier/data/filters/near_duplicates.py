"""Rejects rows that nearly repeat an earlier one (Jaccard similarity of word 3-grams).

What rows share word for word does not tell whether one repeats the other: five questions about one
passage, or a task's rows behind its definition, would all seem alike. A long field that an earlier
row has too is therefore left out, and the rest compared among the rows that have it. Where an
instruction stands apart from its input, input and answer must be alike as well as the whole row
(`near_inputs.py`).
"""

from __future__ import annotations

import weakref
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from luthier.data.candidate import Candidate, Filter, require_similarity
from luthier.data.ids import Ids
from luthier.data.linting.lint_report import Severity
from luthier.data.near import Entry, NearIndex
from luthier.data.near_inputs import Apart, NearInputs
from luthier.data.places import Places
from luthier.data.shingles import BLOCK, shingles
from luthier.example import content_id

SEVERITY: Severity = "warning"
FIX = "Keep one of the rows; `use: near_duplicates` leaves the others out of a build."
_LONG = 80
"""Characters of a field, some 13 words, from which sharing it is no accident (13 words in a row are
what decontamination looks for)."""
_MOST_SEEN = 3
_REST = 0.5
"""Of the similarity: what two rows must have in common beside a field that is the same. Two
questions about a passage have next to nothing, a row of which a few words were changed has most."""
_BITS = (1 << 64) - 1
_CROWD = 100
"""Rows with the same long input of which all are compared as a whole; beyond, only what they have
beside it is."""


def build(*, similarity: float = 0.8) -> Filter:
    """Rows at least this similar to an earlier one are rejected.

    In classification, inputs of the same label are compared: two like sentences with different
    labels are the most instructive rows there are. Elsewhere question and answer are compared
    together. Where an instruction stands apart from its input, the whole rows must be alike and
    what stands beside the instruction too, so that a long instruction makes no copies, and one that
    differs by a word no other rows. Of fields that rows share word for word, those of 80 characters
    and more are left out.

    Args:
        similarity: in (0, 1].
    """
    require_similarity("near_duplicates", similarity)
    return _NearDuplicates(similarity)


@dataclass
class _Prepared:
    """A row as it is compared."""

    row: weakref.ref[Candidate]
    seen: list[str]
    """Its long parts that earlier rows have too."""
    new: list[int]
    """Numbers of its other long parts."""
    views: list[tuple[Sequence[str], Entry]]
    """What is left of the row without some of the parts that were seen; without all of them first.
    The others find the first row that had a part, when nobody knew that it was one of several."""
    apart: Apart | None
    """The whole row, where its instruction stands apart from its input."""


class _NearDuplicates:
    def __init__(self, similarity: float) -> None:
        self.similarity = similarity
        self.index = NearIndex(similarity)
        self.places = Places()
        self.inputs = NearInputs(similarity, _REST * similarity)
        self.inputs_places = Places()
        self.parts = Ids()
        """Long parts of the rows that were read."""
        self.first = array("q")
        """Number in the index of the row that had each of them first; -1: it was not kept."""
        self.times = array("B")
        """How often each of them was there, up to `_CROWD`."""
        self.prepared: dict[int, _Prepared] = {}
        """By the `id` of the row, as long as there is the row: another filter may leave it out."""

    def prepare(self, rows: Sequence[Candidate]) -> None:
        """Rows that are going to be judged one after another: together they are faster read."""
        found, texts, scopes, apart = [], [], [], []
        for row in rows:
            seen, new = self._parts(row)
            stands_apart = bool(row.shared) and not row.parts
            if stands_apart:
                apart.append((row.shared, row.subject, _text(row, ()), _label_scope(row)))
            # The whole row is among these, or compared on its own.
            views = [left_out for left_out in _without(seen) if left_out or not stands_apart]
            found.append((row, seen, new, views, stands_apart))
            for left_out in views:
                texts.append(_text(row, left_out))
                scopes.append(_scope(row, left_out))
        entries: list[Entry] = []
        for start in range(0, len(texts), BLOCK):
            stop = start + BLOCK
            entries += self.index.entries(texts[start:stop], scopes[start:stop])
        compared, wholes = iter(entries), iter(self.inputs.entries(apart, _LONG))
        for row, seen, new, views, stands_apart in found:
            reference = weakref.ref(row, self._forgetting(id(row)))
            self.prepared[id(row)] = _Prepared(
                reference, seen, new, [(left_out, next(compared)) for left_out in views],
                next(wholes) if stands_apart else None,
            )  # fmt: skip

    def _parts(self, row: Candidate) -> tuple[list[str], list[int]]:
        """Long parts of a row that were there before, and numbers of those that were not."""
        seen, new = [], []
        for part in row.parts or [row.subject]:
            if len(part) < _LONG:
                continue
            number = self.parts.number(key := _key(part))
            if number is None:
                new.append(self.parts.add(key))
                self.first.append(-1)
                self.times.append(1)
            else:
                seen.append(part)
                self.times[number] = min(self.times[number] + 1, _CROWD)
        return sorted(seen, key=len, reverse=True)[:_MOST_SEEN], new

    def _forgetting(self, key: int) -> Callable[[weakref.ref[Candidate]], None]:
        prepared = self.prepared

        def forget(gone: weakref.ref[Candidate]) -> None:
            # Another row may have got the same `id` by now.
            if key in prepared and prepared[key].row is gone:
                del prepared[key]

        return forget

    def __call__(self, row: Candidate) -> str | None:
        prepared = self._prepared(row)
        found = [
            (similarity, self.places[number])
            for view in prepared.views
            for number, similarity in self._similar(prepared, *view)
        ]
        if prepared.apart is not None:
            near = self.inputs.similar(prepared.apart)
            found += [(similarity, self.inputs_places[number]) for number, similarity in near]
        if not found:
            return None
        similarity, place = max(found, key=lambda pair: pair[0])
        return f"near-duplicate: {similarity:.2f} similar to {place}"

    def _similar(
        self, prepared: _Prepared, left_out: Sequence[str], entry: Entry
    ) -> Iterator[tuple[int, float]]:
        """Rows that resemble one, but for what they share word for word."""
        kept = [part for part in prepared.seen if part not in left_out]
        for number, similarity in self.index.similar(entry):
            common = [part for part in kept if self._first(part) == number]
            if common:
                # Both rows have the common parts whole: these count once in what the rows share
                # and once in their union, and are taken off both.
                size, other = len(entry.shingles), self.index.size(number)
                both = (size + other) * similarity / (1 + similarity)
                shared = sum(len(shingles(part)) for part in common)
                union = size + other - both - shared
                # Half a shingle is none: the parts are all there is of either.
                if union > 0.5 and (both - shared) / union < _REST * self.similarity:
                    continue
            yield number, similarity

    def _first(self, part: str) -> int:
        number = self.parts.number(_key(part))
        return -1 if number is None else self.first[number]

    def remember(self, row: Candidate) -> None:
        prepared = self._prepared(row)
        if prepared.apart is not None and not self._is_crowd(prepared.seen):
            self.inputs.add(prepared.apart)
            self.inputs_places.append(row.example.origin)
        if not prepared.views:
            return
        number = self.index.add(prepared.views[0][1])
        for part in prepared.new:
            self.first[part] = number
        self.places.append(row.example.origin)

    def _is_crowd(self, seen: Sequence[str]) -> bool:
        numbers = (self.parts.number(_key(part)) for part in seen)
        return any(n is not None and self.times[n] >= _CROWD for n in numbers)

    def _prepared(self, row: Candidate) -> _Prepared:
        if id(row) not in self.prepared:
            self.prepare([row])
        return self.prepared[id(row)]


def _without(parts: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """All selections of some parts, the largest first."""
    for size in range(len(parts), -1, -1):
        yield from combinations(parts, size)


def _text(row: Candidate, left_out: Sequence[str]) -> str:
    parts = [part for part in row.parts or [row.subject] if part not in left_out]
    return "\n".join(parts if row.example.label is not None else [*parts, row.answer])


def _scope(row: Candidate, left_out: Sequence[str]) -> int:
    """Rows are compared within a label, and within what is left out of them."""
    apart = [*left_out] if row.parts else [row.shared, *left_out]
    if not any(apart):
        return _label_scope(row)
    return _number(f"{row.example.label}\0" + "\0".join(sorted(apart)))


def _label_scope(row: Candidate) -> int:
    return 0 if row.example.label is None else _number(f"{row.example.label}\0")


def _number(text: str) -> int:
    return int(content_id([text]), 16)


def _key(text: str) -> int:
    return hash(text) & _BITS
