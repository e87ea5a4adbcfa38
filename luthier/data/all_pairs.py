"""All pairs of near-duplicates among texts that are all there before anything is asked.

Two sets with a Jaccard similarity of t or more have t of the larger one's members in common. So in
any order of the members that is the same for all sets, they share one of the first
n - ceil(t n) + 1 of either (prefix filtering: S. Chaudhuri, V. Ganti, R. Kaushik, "A Primitive
Operator for Similarity Joins in Data Cleaning", ICDE 2006). With the rarest members first, texts
that merely begin alike ("Rewrite the following sentence so that ...") are never compared, however
many there are (R. Bayardo, Y. Ma, R. Srikant, "Scaling Up All Pairs Similarity Search", WWW 2007).
Pairs that share one are measured exactly: none is missed, and none is called similar that is not.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from luthier.data.scratch import Scratch
from luthier.data.shingles import BLOCK, Hashes, Numbers, marks, shingle_sets
from luthier.data.stored import SLACK, Grown, Pairs, StoredShingles
from luthier.data.tables import NUMBER, NUMBER_BITS

Wanted = Callable[[Numbers, Numbers], NDArray[np.bool_]]
_MOST_CELLS = 24
"""Bits of the largest table of counts (64 MiB)."""
_PART = 1 << 21
"""Entries that are sorted together (16 MiB)."""
_WAITING = 1 << 18
"""Pairs that are looked at together."""
_MOST_PAIRS = 1 << 22
"""Measured pairs that are remembered so as not to be measured again (32 MiB)."""
# A shingle has 54 bits. Its upper 48 tell it from others here, since six are needed for how rare it
# is: members that agree in 48 bits are one member that a set may have twice.
_TOLD_APART = np.uint64(48)
_OF_BLOCK = np.uint64(54)
_DROPPED = np.uint64(6)
_KEY = np.uint64((1 << 36) - 1)


class Corpus:
    """Texts, and every pair of them that resembles each other.

    Texts with the same shingles are one class. A text takes 24 bytes of memory; shingles are on
    disk, and one part of their keys is looked at after another.
    """

    def __init__(self, similarity: float, folder: Path | None = None) -> None:
        """Start empty.

        Args:
            similarity: from this Jaccard similarity on, in (0, 1], texts are near-duplicates.
            folder: on the disk that is to hold the shingles; None: the system's for such files.
        """
        self._folder = folder
        self._stored = StoredShingles(similarity, folder)
        self._marks = Grown(np.uint64)
        self._classes: tuple[Numbers, Numbers] | None = None

    def add(self, texts: Sequence[str]) -> None:
        """Take in at most BLOCK texts."""
        if not texts:
            return
        sets = shingle_sets(texts)
        self._stored.put(sets.each())
        self._marks.put(marks(sets))
        self._classes = None

    @property
    def same(self) -> Numbers:
        """Per text the number of its class, in order of appearance."""
        return self._sorted_out()[0]

    def _sorted_out(self) -> tuple[Numbers, Numbers]:
        """Class of each text, and the first text of each class."""
        if self._classes is None:
            marks = self._marks.rows
            order = np.argsort(marks, kind="stable")
            starts = np.flatnonzero(np.diff(marks[order], prepend=~marks[order[:1]]))
            # Per text the first one that is the same; those that are their own first are classes.
            first = np.empty(len(marks), np.int32)
            first[order] = np.repeat(order[starts], np.diff(starts, append=len(marks)))
            del order, starts
            own = first == np.arange(len(marks), dtype=np.int32)
            rank = np.cumsum(own, dtype=np.int32) - np.int32(1)
            self._classes = rank[first], np.flatnonzero(own).astype(np.int32)
        return self._classes

    def pairs(self, wanted: Wanted | None = None) -> Iterator[Pairs]:
        """Pairs of classes at or above the threshold, the lower class first, some at a time.

        A pair may come again where there are very many.

        Args:
            wanted: told proposed pairs, says which are worth measuring; None: all.
        """
        same, first = self._sorted_out()
        known = _Known()
        for entries in self._entries(same, first):
            for ones, others in _equal(entries):
                use = self._stored.fit(self._stored.sizes(first[ones]), first[others])
                if wanted is not None:
                    use[use] = wanted(ones[use], others[use])
                packed = (ones[use].astype(np.uint64) << np.uint64(32)) | others[use].astype(
                    np.uint64
                )
                packed = known.new(packed)
                one = first[(packed >> np.uint64(32)).astype(np.int64)]
                other = first[(packed & np.uint64(0xFFFFFFFF)).astype(np.int64)]
                for found in self._stored.resembling(self._stored.take, one, other):
                    yield Pairs(same[found.ones], same[found.others], found.similarity)

    def _entries(self, same: Numbers, first: Numbers) -> Iterator[Hashes]:
        """Keys of the rarest members of each class with its number, sorted, part by part."""
        sizes = self._stored.every_size()
        least = np.ceil(sizes * (self._stored.similarity - 2 * SLACK)).astype(np.int64)
        ahead = np.maximum(sizes - least + 1, 1)
        ahead[first[same] != np.arange(len(same))] = 0
        counts = self._counts()
        file = Scratch(self._folder)
        bits = max(0, (int(ahead.sum()) // _PART).bit_length())
        edges = np.arange(1, 1 << bits, dtype=np.uint64) << np.uint64(64 - bits if bits else 0)
        pieces: list[tuple[int, list[int]]] = []
        waiting: list[Hashes] = []
        for start in range(0, len(sizes), BLOCK):
            stop = min(start + BLOCK, len(sizes))
            waiting.append(
                _rarest(
                    self._stored.stretch(start, stop), sizes[start:stop], ahead[start:stop],
                    same[start:stop], counts,
                )
            )  # fmt: skip
            if stop == len(sizes) or sum(map(len, waiting)) > _PART:
                chunk = np.sort(np.concatenate(waiting))
                waiting.clear()
                bounds = [0, *np.searchsorted(chunk, edges).tolist(), len(chunk)]
                pieces.append((file.put(chunk.data.cast("B")), bounds))
        del counts
        for part in range(1 << bits):
            found = [
                file.get(begin + 8 * bounds[part], 8 * (bounds[part + 1] - bounds[part]))
                for begin, bounds in pieces
            ]
            entries = np.frombuffer(b"".join(found), np.uint64).copy()
            entries.sort()
            yield entries

    def _counts(self) -> NDArray[np.uint32]:
        """How often members occur, by their lowest bits; of very many, some share a count."""
        bits = min(max(10, self._stored.total.bit_length()), _MOST_CELLS)
        counts = np.zeros(1 << bits, np.uint32)
        mask = np.uint64(len(counts) - 1)
        for start in range(0, len(self._stored), BLOCK):
            members = self._stored.stretch(start, min(start + BLOCK, len(self._stored)))
            np.add.at(counts, (members >> _DROPPED) & mask, np.uint32(1))
        return counts


def _rarest(
    members: Hashes, sizes: Numbers, ahead: Numbers, classes: Numbers, counts: NDArray[np.uint32]
) -> Hashes:
    """The first members of each set in order of rarity, as entries `key << 28 | class`.

    Args:
        members: of at most BLOCK sets behind each other.
        sizes: of each set.
        ahead: how many members of each are wanted.
        classes: number of each.
        counts: how often members occur. One that occurs once is shared with nobody and left out.
    """
    members = members >> _DROPPED
    found = counts[members & np.uint64(len(counts) - 1)]
    rare = np.minimum(np.log2(found.astype(np.float32)) * 3, 63).astype(np.uint64)
    ordered = np.repeat(np.arange(len(sizes), dtype=np.uint64), sizes) << _OF_BLOCK
    ordered |= rare << _TOLD_APART
    ordered |= members
    ordered.sort()
    place = np.arange(len(members)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    taken = place < np.repeat(ahead, sizes)
    taken &= (ordered >> _TOLD_APART) & np.uint64(63) > 0
    entries: Hashes = (ordered[taken] & _KEY) << NUMBER_BITS
    entries |= np.repeat(classes, sizes)[taken].astype(np.uint64)
    return entries


def _equal(entries: Hashes) -> Iterator[tuple[Numbers, Numbers]]:
    """All pairs of numbers of sorted entries with the same key, the lower first, some at a time."""
    keys, numbers = entries >> NUMBER_BITS, (entries & NUMBER).astype(np.int64)
    at = np.flatnonzero(keys[1:] == keys[:-1])
    for apart in range(1, len(keys)):
        # Keys that differ at this distance differ at every larger one.
        at = at[: np.searchsorted(at, len(keys) - apart)]
        at = at[keys[at] == keys[at + apart]]
        if not len(at):
            return
        for part in (at[i : i + _WAITING] for i in range(0, len(at), _WAITING)):
            ones, others = numbers[part], numbers[part + apart]
            differ = ones != others  # a set may have a member twice
            yield ones[differ], others[differ]


class _Known:
    """Numbers that were there before: sorted parts, merged with others of a like size."""

    def __init__(self) -> None:
        self._parts: list[Hashes] = []

    def new(self, numbers: Hashes) -> Hashes:
        """Those that are new, sorted and each once; they are known from now on."""
        numbers = np.unique(numbers)
        for part in self._parts:
            numbers = numbers[~_among(numbers, part)]
        if len(numbers) and len(numbers) + sum(map(len, self._parts)) <= _MOST_PAIRS:
            self._parts.append(numbers)
            while len(self._parts) > 1 and len(self._parts[-2]) < 2 * len(self._parts[-1]):
                merged = np.concatenate([self._parts.pop(), self._parts.pop()])
                merged.sort(kind="stable")  # sees that these are two sorted runs and merges them
                self._parts.append(merged)
        return numbers


def _among(numbers: Hashes, ordered: Hashes) -> NDArray[np.bool_]:
    """Which numbers are in a sorted array."""
    places = np.minimum(np.searchsorted(ordered, numbers), len(ordered) - 1)
    found: NDArray[np.bool_] = ordered[places] == numbers
    return found


class Union:
    """Disjoint sets of 0 .. size - 1 (union-find with path halving)."""

    def __init__(self, size: int) -> None:
        """Start with every item on its own."""
        self.parent = array("i", range(size))

    def find(self, item: int) -> int:
        """The representative of an item's set."""
        parent = self.parent
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    def join(self, a: int, b: int) -> None:
        """Make two sets one."""
        self.parent[self.find(b)] = self.find(a)

    def roots(self, items: Numbers) -> Numbers:
        """The representatives of the sets of many items."""
        parent = np.frombuffer(self.parent, np.int32)
        found = parent[items]
        while (found != (found := parent[found])).any():
            pass
        return found
