"""A table of 36-bit keys and 28-bit numbers that grows: in memory while small, then on disk.

What was put in last is sorted for itself and merged with what is there when that is of a like
size, as in a log-structured merge tree (P. O'Neil et al., 1996). A part that has become large goes
to disk; memory keeps every 512th entry of it, and two bits in a bitmap for each key (B. Bloom,
1970), so that it is read only where a key is very likely in it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from luthier.data.scratch import Scratch

Entries = NDArray[np.uint64]
NUMBER_BITS = np.uint64(28)
"""Of an entry; the 36 bits above are the key."""
NUMBER = np.uint64((1 << 28) - 1)
_KEY_BITS = 36
_LARGEST = 1 << 22
"""Entries at most of a part in memory (32 MiB)."""
_PAGE = 512
"""Entries that are read from disk together."""
_SOME = 1 << 20
"""Entries that are marked in the bitmap together."""
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


class Tables:
    """Entries `key << 28 | number` in parts, each sorted."""

    def __init__(self, folder: Path | None = None) -> None:
        """Begin empty.

        Args:
            folder: on the disk that is to hold large parts; None: the system's for such files.
        """
        self._file = Scratch(folder)
        self._parts: list[Entries] = []
        """In memory, the largest first."""
        self._sealed: list[_Sealed] = []

    def put(self, entries: Entries) -> None:
        """Take in some entries, in any order; none may be there already.

        Raises:
            RunError: the disk is full or the folder cannot be written.
        """
        self._parts.append(np.sort(entries))
        while len(self._parts) > 1:
            large, small = self._parts[-2:]
            if len(large) > 2 * len(small):
                return
            del self._parts[-2:]
            if len(large) + len(small) > _LARGEST:
                self._sealed.append(_Sealed(large, self._file))
                self._parts.append(small)
                continue
            merged = np.concatenate([large, small])
            merged.sort(kind="stable")  # sees that these are two sorted runs and merges them
            self._parts.append(merged)

    def matches(self, wanted: Entries) -> Entries:
        """Entries that have the keys of some others.

        Args:
            wanted: keys, each with a number of its own (`key << 28 | owner`), sorted.

        Returns:
            Pairs (`owner << 28 | number`), sorted, each once.
        """
        lowest, owners = wanted & ~NUMBER, wanted & NUMBER
        found = [_pairs(part, lowest, owners) for part in self._parts]
        for sealed in self._sealed:
            likely = sealed.likely(lowest)
            entries = sealed.read(lowest[likely])
            if len(entries):
                found.append(_pairs(entries, lowest[likely], owners[likely]))
        return np.unique(np.concatenate([np.zeros(0, np.uint64), *found]))


def _pairs(part: Entries, lowest: Entries, owners: Entries) -> Entries:
    starts = np.searchsorted(part, lowest)
    hit = np.flatnonzero((part[np.minimum(starts, len(part) - 1)] & ~NUMBER) == lowest)
    stops = np.searchsorted(part, lowest[hit] | NUMBER, side="right")
    # Where the last entry is below the key, start and stop are both the end.
    counts = stops - starts[hit]
    before = np.concatenate([[0], np.cumsum(counts)])
    places = np.arange(before[-1]) + np.repeat(starts[hit] - before[:-1], counts)
    found: Entries = (np.repeat(owners[hit], counts) << NUMBER_BITS) | (part[places] & NUMBER)
    return found


class _Sealed:
    """A part on disk."""

    def __init__(self, part: Entries, file: Scratch) -> None:
        self._file = file
        self._start = file.put(part.data.cast("B"))
        self._size = len(part)
        self._fence = part[::_PAGE].copy()
        """The first entry of every page."""
        bits = max(3, min(_KEY_BITS, (8 * len(part) - 1).bit_length()))
        self._shift = np.uint64(64 - bits)
        self._bitmap = np.zeros((1 << bits) // 8, np.uint8)
        for start in range(0, len(part), _SOME):
            for places in self._places(part[start : start + _SOME] & ~NUMBER):
                bit = np.left_shift(np.uint8(1), (places & np.uint64(7)).astype(np.uint8))
                np.bitwise_or.at(self._bitmap, places >> np.uint64(3), bit)

    def _places(self, lowest: Entries) -> tuple[Entries, Entries]:
        """Two bits of the bitmap for each key."""
        return lowest >> self._shift, (lowest * _SPREAD) >> self._shift

    def likely(self, lowest: Entries) -> NDArray[np.bool_]:
        """Whether keys may be in the part: no is certain, yes is wrong once in twenty times."""
        one, other = (
            self._bitmap[places >> np.uint64(3)] >> (places & np.uint64(7)).astype(np.uint8)
            for places in self._places(lowest)
        )
        found: NDArray[np.bool_] = (one & other & np.uint8(1)) > 0
        return found

    def read(self, lowest: Entries) -> Entries:
        """The pages that can hold some keys, behind each other."""
        first = np.searchsorted(self._fence, lowest, side="right") - 1
        last = np.searchsorted(self._fence, lowest | NUMBER, side="right")
        edges = np.zeros(len(self._fence) + 1, np.int64)
        np.add.at(edges, np.maximum(first, 0), 1)
        np.add.at(edges, last, -1)
        wanted = np.flatnonzero(np.cumsum(edges[:-1]) > 0)
        # Pages that lie behind each other are read at once.
        breaks = np.flatnonzero(np.diff(wanted, prepend=-2) > 1)
        pieces = []
        for run in np.split(wanted, breaks[1:]) if len(wanted) else []:
            start, stop = int(run[0]) * _PAGE, min((int(run[-1]) + 1) * _PAGE, self._size)
            pieces.append(self._file.get(self._start + 8 * start, 8 * (stop - start)))
        return np.frombuffer(b"".join(pieces), np.uint64)
