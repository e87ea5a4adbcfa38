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
from luthier.data.shingles import BLOCK, Hashes, shingle_sets, shingles
from luthier.data.stored import SLACK, StoredShingles
from luthier.example import content_id

_DILUTED = 0.91
"""Of the similarity of two rows: what input and answer must have alone. A row of which some words
were changed there is alike in the instruction too, which makes up for a quarter of a typical row;
much lower, too many pairs would be proposed (`minhash.banding`)."""
_MOST = 0.5
"""Of what stands beside it: an instruction that is longer does not make up for anything."""
_JOINTS = 2
"""Word 3-grams that begin in an instruction and end in its input; mostly, these are alike."""


class Apart(NamedTuple):
    """A row as it is compared."""

    instruction: int
    """A hash of it."""
    words: Hashes
    """Its shingles."""
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
        self._instructions = Ids()
        self._words = StoredShingles(similarity, None)
        """Of every instruction."""
        self._instruction = array("q")
        """Of every row the number of its instruction."""
        self._input = array("Q")
        """Of every row a hash of its long input; 0: it has none."""

    def entries(
        self, rows: Sequence[tuple[str, str, str, int]], long: int
    ) -> list[Apart]:
        """Rows that are to be asked for or remembered.

        Args:
            rows: instruction, input, what is compared beside the instruction, and a scope (rows of
                different ones never resemble) of each row.
            long: characters of an input from which sharing it is no accident.
        """
        found = []
        for start in range(0, len(rows), BLOCK):
            block = rows[start : start + BLOCK]
            words = shingle_sets([row[0] for row in block]).each()
            rests = self._index.entries([row[2] for row in block], [row[3] for row in block])
            for (instruction, given, _, _), its, rest in zip(block, words, rests, strict=True):
                alone = given if len(given) >= long else ""
                key = _number(instruction)
                found.append(Apart(key, its.copy(), alone, rest))
        return found

    def similar(self, row: Apart) -> Iterator[tuple[int, float]]:
        """Numbers and similarities of the remembered rows that resemble this one."""
        for number, alike in self._index.similar(row.rest):
            size, other = len(row.rest.shingles), self._index.size(number)
            both = (size + other) * alike / (1 + alike)
            union = size + other - both
            instruction = self._instructions.number(row.instruction)
            same = instruction == self._instruction[number]
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
        if same:
            return len(row.words), len(row.words)
        [theirs] = self._words.take(np.array([self._instruction[number]]))
        shared = len(np.intersect1d(row.words, theirs, assume_unique=True))
        return shared, len(row.words) + len(theirs) - shared

    def add(self, row: Apart) -> int:
        """Remember a row; returns its number (0, 1, ...)."""
        instruction = self._instructions.number(row.instruction)
        if instruction is None:
            instruction = self._instructions.add(row.instruction)
            self._words.put([row.words])
        self._instruction.append(instruction)
        self._input.append(_number(row.input) if row.input else 0)
        return self._index.add(row.rest)


def _number(text: str) -> int:
    return int(content_id([text]), 16)
