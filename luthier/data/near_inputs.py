"""Near-duplicates among rows whose instruction stands apart from their input.

Thousands of rows may share an instruction word for word, and would all resemble each other if it
were compared with the rest. So the rest, input and answer, proposes pairs; what two instructions
have in common is counted only for these, and decides whether the rows as a whole are alike.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from luthier.data.ids import Ids
from luthier.data.near import Entry, NearIndex
from luthier.data.scratch import Scratch
from luthier.data.shingles import BLOCK, shingles
from luthier.data.stored import SLACK

_DILUTED = 0.92
"""Of the similarity of two rows: what input and answer must have alone. A row of which some words
were changed there is alike in the instruction too, which makes up for a quarter of a typical row;
much lower, too many pairs would be proposed (`minhash.banding`)."""
_BITS = (1 << 64) - 1
_WAITING = 1 << 18
"""Bytes of instructions that wait in memory to be written together."""
_MOST = 0.5
"""Of what stands beside it: an instruction that is longer does not make up for anything."""
_JOINTS = 2
"""Word 3-grams that begin in an instruction and end in its input; mostly, these are alike."""


class Apart(NamedTuple):
    """A row as it is compared."""

    instruction: int
    """A hash of it."""
    text: str
    long: bool
    """Whether sharing it is no accident."""
    input: str
    """The input, where sharing it is no accident; else empty."""
    rest: Entry


class NearInputs:
    """Rows seen so far, to be asked which of them resemble another."""

    def __init__(self, similarity: float, rest: float) -> None:
        """Start empty.

        Args:
            similarity: from this Jaccard similarity on, in (0, 1], rows are near-duplicates.
            rest: what rows with the same long input must have in common beside it.
        """
        self.similarity, self.rest = similarity, rest
        self._index = NearIndex(_DILUTED * similarity)
        self._instruction = array("Q")
        """Of every row a hash of its instruction."""
        self._number = array("q")
        """Of every row where its instruction is."""
        self._texts = _Texts()
        self._common = Ids()
        self._where = array("q")
        """Of long instructions, which thousands of rows may have, where they are."""
        self._input = array("Q")
        """Of every row a hash of its long input; 0: it has none."""

    def entries(self, rows: Sequence[tuple[str, str, str, int]], long: int) -> list[Apart]:
        """Rows that are to be asked for or remembered.

        Args:
            rows: instruction, input, what is compared beside the instruction, and a scope (rows of
                different ones never resemble) of each row.
            long: characters of a text from which sharing it is no accident.
        """
        found = []
        for start in range(0, len(rows), BLOCK):
            block = rows[start : start + BLOCK]
            rests = self._index.entries([row[2] for row in block], [row[3] for row in block])
            for (instruction, given, _, _), rest in zip(block, rests, strict=True):
                alone = given if len(given) >= long else ""
                apart = Apart(
                    _number(instruction), instruction, len(instruction) >= long, alone, rest
                )
                found.append(apart)
        return found

    def similar(self, row: Apart) -> Iterator[tuple[int, float]]:
        """Numbers and similarities of the remembered rows that resemble this one."""
        for number, alike in self._index.similar(row.rest):
            size, other = len(row.rest.shingles), self._index.size(number)
            both = (size + other) * alike / (1 + alike)
            union = size + other - both
            same = row.instruction == self._instruction[number]
            shared, asked = self._in_common(row, number, same)
            whole = (both + shared + _JOINTS) / (union + asked + _JOINTS)
            if whole < self.similarity - SLACK:
                continue
            if same and shared > _MOST * union and alike < self.similarity - SLACK:
                continue  # the definition of a task, which says nothing of its rows
            if row.input and self._input[number] == _number(row.input):
                # Two tasks about one passage are alike only if the rest of them is.
                passage = len(shingles(row.input))
                both, union = both - passage, union - passage
                if not same:
                    both, union = both + shared, union + asked
                # Half a shingle is none: the passage is all there is of either.
                if union > 0.5 and both / union < self.rest:
                    continue
            yield number, min(whole, 1.0)

    def _in_common(self, row: Apart, number: int, same: bool) -> tuple[int, int]:
        """Shingles that two instructions share, and those of both together."""
        ours = shingles(row.text)
        if same:
            return len(ours), len(ours)
        theirs = shingles(self._texts[self._number[number]])
        shared = len(np.intersect1d(ours, theirs, assume_unique=True))
        return shared, len(ours) + len(theirs) - shared

    def add(self, row: Apart) -> int:
        """Remember a row; returns its number (0, 1, ...)."""
        self._instruction.append(row.instruction)
        self._number.append(self._kept(row))
        self._input.append(_number(row.input) if row.input else 0)
        return self._index.add(row.rest)

    def _kept(self, row: Apart) -> int:
        """Where the shingles of its instruction are."""
        known = self._common.number(row.instruction) if row.long else None
        if known is not None:
            return self._where[known]
        where = self._texts.append(row.text)
        if row.long:
            self._common.add(row.instruction)
            self._where.append(where)
        return where


class _Texts:
    """Texts by number, on disk but for the last ones."""

    def __init__(self) -> None:
        self._file = Scratch()
        self._ends = array("q", [0])
        self._latest = bytearray()

    def append(self, text: str) -> int:
        self._latest += text.encode("utf-8", "surrogatepass")
        self._ends.append(self._file.size + len(self._latest))
        if len(self._latest) > _WAITING:
            self._file.put(bytes(self._latest))
            self._latest = bytearray()
        return len(self._ends) - 2

    def __getitem__(self, number: int) -> str:
        start, end = self._ends[number], self._ends[number + 1]
        written = self._file.size
        if start < written:
            found = bytes(self._file.get(start, end - start))
        else:
            found = bytes(self._latest[start - written : end - written])
        return found.decode("utf-8", "surrogatepass")


def _number(text: str) -> int:
    return hash(text) & _BITS
