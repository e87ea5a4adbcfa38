"""Shingles of many texts by number: on disk, but for the last ones, and measured from there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from luthier.data.scratch import Scratch
from luthier.data.shingles import BLOCK, Hashes, Numbers, jaccard

SLACK = 1e-9
"""Similarities are ratios of small integers; this only absorbs their rounding."""
_WAITING = 1 << 18
"""Shingles that wait in memory to be written together."""

Kind = TypeVar("Kind", bound=np.generic)


class Pairs(NamedTuple):
    """Pairs of texts, or of classes of texts, that resemble each other."""

    ones: Numbers
    others: Numbers
    similarity: NDArray[np.float64]


class Grown(Generic[Kind]):
    """An array that rows are put behind."""

    def __init__(self, kind: type[Kind], *shape: int) -> None:
        """Begin empty.

        Args:
            kind: of the items.
            shape: of a row.
        """
        self._room: NDArray[Kind] = np.empty((BLOCK, *shape), kind)
        self._size = 0

    def put(self, rows: NDArray[Kind]) -> None:
        """Put rows behind the others."""
        end = self._size + len(rows)
        if end > len(self._room):
            room = np.empty((end + end // 4, *self._room.shape[1:]), self._room.dtype)
            room[: self._size] = self.rows
            self._room = room
        self._room[self._size : end] = rows
        self._size = end

    @property
    def rows(self) -> NDArray[Kind]:
        """All rows so far."""
        return self._room[: self._size]


class StoredShingles:
    """The shingles of texts; a text takes eight bytes of memory."""

    def __init__(self, similarity: float, folder: Path | None) -> None:
        """Begin empty.

        Args:
            similarity: the threshold of `resembling`.
            folder: on the disk that is to hold the shingles; None: the system's for such files.
        """
        self.similarity = similarity
        self._ends = Grown(np.int64)
        self._ends.put(np.zeros(1, np.int64))
        self.file = Scratch(folder)
        self._waiting: list[Hashes] = []

    def __len__(self) -> int:
        """How many texts there are."""
        return len(self._ends.rows) - 1

    @property
    def total(self) -> int:
        """Shingles of all texts."""
        return int(self._ends.rows[-1])

    def put(self, sets: Sequence[Hashes]) -> None:
        """Put texts behind the others.

        Raises:
            RunError: the disk is full or the folder cannot be written.
        """
        sizes = np.array([len(s) for s in sets])
        self._ends.put(self._ends.rows[-1] + np.cumsum(sizes))
        self._waiting += sets
        if self.total - self.file.size // 8 > _WAITING:
            self._write()

    def _write(self) -> None:
        if self._waiting:
            self.file.put(np.concatenate(self._waiting).data.cast("B"))
            self._waiting.clear()

    def sizes(self, numbers: Numbers) -> Numbers:
        """Shingles of each of some texts."""
        return self._ends.rows[numbers + 1] - self._ends.rows[numbers]

    def every_size(self) -> Numbers:
        """Shingles of each text."""
        return np.diff(self._ends.rows)

    def stretch(self, start: int, stop: int) -> Hashes:
        """The shingles of texts `start` to `stop` (not included) behind each other."""
        self._write()
        begin, end = int(self._ends.rows[start]), int(self._ends.rows[stop])
        return np.frombuffer(self.file.get(8 * begin, 8 * (end - begin)), np.uint64)

    def take(self, numbers: Numbers) -> list[Hashes]:
        """Shingles of each of some texts."""
        written = len(self) - len(self._waiting)
        starts = self._ends.rows[numbers].tolist()
        sizes = self.sizes(numbers).tolist()
        return [
            np.frombuffer(self.file.get(8 * start, 8 * size), np.uint64)
            if number < written
            else self._waiting[number - written]
            for number, start, size in zip(numbers.tolist(), starts, sizes, strict=True)
        ]

    def fit(self, sizes: Numbers, numbers: Numbers) -> NDArray[np.bool_]:
        """Whether texts of these sizes may resemble stored ones, pair by pair."""
        stored = self.sizes(numbers)
        found: NDArray[np.bool_] = np.minimum(sizes, stored) >= (
            np.maximum(sizes, stored) * self.similarity - SLACK
        )
        return found

    def resembling(
        self, sets: Callable[[Numbers], Sequence[Hashes]], ones: Numbers, numbers: Numbers
    ) -> Iterator[Pairs]:
        """The pairs that are at or above the threshold, some at a time.

        Args:
            sets: gives the shingles of some of `ones`.
            ones: texts.
            numbers: a stored text for each of them.
        """
        for start in range(0, len(ones), BLOCK):
            one, number = ones[start : start + BLOCK], numbers[start : start + BLOCK]
            measured = jaccard(sets(one), self.take(number))
            enough = measured >= self.similarity - SLACK
            yield Pairs(one[enough], number[enough], measured[enough])
