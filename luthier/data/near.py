"""Near-duplicates: pairs of texts that share most of their word 3-grams.

Resemblance is the Jaccard similarity of the sets of shingles (A. Broder, "On the resemblance and
containment of documents", 1997). MinHash proposes pairs (see `minhash.py`); each proposed pair is
then measured exactly, so nothing is ever called similar that is not. A pair right at the
threshold is missed with a probability of at most one in a million.

Texts are taken in blocks. What memory holds of a text does not grow with its length: its shingles
lie on disk until the command ends.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from luthier.data.minhash import Signer
from luthier.data.scratch import Scratch
from luthier.data.shingles import BLOCK, Hashes, Numbers, jaccard, marks, shingle_sets
from luthier.data.shingles import shingles as shingles
from luthier.data.tables import NUMBER, NUMBER_BITS, Tables

_SLACK = 1e-9
"""Similarities are ratios of small integers; this only absorbs their rounding."""
_MOST_PAIRS = 1 << 24
"""Measured pairs that are remembered so as not to be measured again (128 MiB)."""
_WAITING = 1 << 18
"""Shingles that wait in memory to be written together."""

Kind = TypeVar("Kind", bound=np.generic)


# --- what is kept of a text --------------------------------------------------------------------


class Pairs(NamedTuple):
    """Pairs of texts, or of classes of texts, that resemble each other."""

    ones: Numbers
    others: Numbers
    similarity: NDArray[np.float64]


class _Grown(Generic[Kind]):
    """An array that rows are put behind."""

    def __init__(self, kind: type[Kind], *shape: int) -> None:
        self._room: NDArray[Kind] = np.empty((BLOCK, *shape), kind)
        self._size = 0

    def put(self, rows: NDArray[Kind]) -> None:
        end = self._size + len(rows)
        if end > len(self._room):
            room = np.empty((end + end // 4, *self._room.shape[1:]), self._room.dtype)
            room[: self._size] = self.rows
            self._room = room
        self._room[self._size : end] = rows
        self._size = end

    @property
    def rows(self) -> NDArray[Kind]:
        return self._room[: self._size]


class _Kept:
    """Sketches and shingles by number; the shingles are on disk, but for the last ones."""

    def __init__(self, signer: Signer, similarity: float, folder: Path | None) -> None:
        self.signer, self.similarity = signer, similarity
        self._sketches = _Grown(np.uint64, 2)
        self._ends = _Grown(np.int64)
        self._ends.put(np.zeros(1, np.int64))
        self._file = Scratch(folder)
        self._waiting: list[Hashes] = []

    def __len__(self) -> int:
        return len(self._sketches.rows)

    def put(self, sets: Sequence[Hashes], sketches: Hashes) -> None:
        self._sketches.put(sketches)
        sizes = np.array([len(s) for s in sets])
        self._ends.put(self._ends.rows[-1] + np.cumsum(sizes))
        self._waiting += sets
        if self._ends.rows[-1] - self._file.size // 8 > _WAITING:
            self._file.put(np.concatenate(self._waiting).data.cast("B"))
            self._waiting.clear()

    def sizes(self, numbers: Numbers) -> Numbers:
        """Shingles of each of some texts."""
        return self._ends.rows[numbers + 1] - self._ends.rows[numbers]

    def sketches(self, numbers: Numbers) -> Hashes:
        """Sketches of some texts."""
        return self._sketches.rows[numbers]

    def take(self, numbers: Numbers) -> list[Hashes]:
        """Shingles of each of some texts."""
        written = len(self) - len(self._waiting)
        starts = self._ends.rows[numbers].tolist()
        sizes = self.sizes(numbers).tolist()
        return [
            np.frombuffer(self._file.get(8 * start, 8 * size), np.uint64)
            if number < written
            else self._waiting[number - written]
            for number, start, size in zip(numbers.tolist(), starts, sizes, strict=True)
        ]

    def likely(self, sizes: Numbers, sketches: Hashes, numbers: Numbers) -> NDArray[np.bool_]:
        """Whether texts of these sizes and sketches may resemble kept ones, pair by pair."""
        kept = self.sizes(numbers)
        fit: NDArray[np.bool_] = np.minimum(sizes, kept) >= (
            np.maximum(sizes, kept) * self.similarity - _SLACK
        )
        return fit & self.signer.alike(sketches, self.sketches(numbers))

    def resembling(
        self, sets: Callable[[Numbers], Sequence[Hashes]], ones: Numbers, numbers: Numbers
    ) -> Iterator[Pairs]:
        """The pairs that are at or above the threshold, some at a time.

        Args:
            sets: gives the shingles of some of `ones`.
            ones: texts.
            numbers: a kept text for each of them.
        """
        for start in range(0, len(ones), BLOCK):
            one, number = ones[start : start + BLOCK], numbers[start : start + BLOCK]
            measured = jaccard(sets(one), self.take(number))
            enough = measured >= self.similarity - _SLACK
            yield Pairs(one[enough], number[enough], measured[enough])


# --- one text after another --------------------------------------------------------------------


@dataclass(slots=True)
class Entry:
    """A text as the index sees it."""

    shingles: Hashes
    keys: list[int]
    """One bucket per band."""
    sketch: Hashes
    near: list[tuple[int, float]]
    """Texts in the index's tables that resemble it."""
    tables: int
    """Which state of the tables that is."""


class NearIndex:
    """Texts seen so far, to be asked which of them resemble another.

    Texts that agree in a band are found in tables, which take eight bytes for each band of a text
    while they are small and about one when they are on disk; the latest texts are in a dictionary,
    so that a text meets those right before it too.
    """

    def __init__(self, similarity: float, folder: Path | None = None) -> None:
        """Start empty.

        Args:
            similarity: from this Jaccard similarity on, in (0, 1], texts are near-duplicates.
            folder: on the disk that is to hold the shingles; None: the system's for such files.
        """
        self.similarity = similarity
        self._signer = Signer(similarity)
        self._kept = _Kept(self._signer, similarity, folder)
        self._tables = Tables(folder)
        self._state = 0
        self._latest: dict[int, int | list[int]] = {}
        self._unsorted: list[list[int]] = []
        """Keys of the latest texts."""
        self._fresh: list[Entry] = []
        """Texts that are still to be put with those kept."""

    def __len__(self) -> int:
        """How many texts are remembered."""
        return len(self._kept) + len(self._fresh)

    def entry(self, text: str, scope: int = 0) -> Entry:
        """A text, to be asked for or remembered."""
        return self.entries([text], [scope])[0]

    def entries(self, texts: Sequence[str], scopes: Sequence[int] | None = None) -> list[Entry]:
        """Texts that are to be asked for or remembered one after another; faster than singly.

        Args:
            texts: at most BLOCK texts.
            scopes: a number below 2^64 for each: texts of different scopes never resemble.
        """
        if not texts:
            return []
        if len(self._unsorted) >= BLOCK:
            self._sort_in()
        sets = shingle_sets(texts, scopes)
        signed = self._signer.sign(sets.short, sets.ends[:-1])
        keys = signed.keys >> NUMBER_BITS
        each = sets.each()
        near = self._in_tables(keys, each, signed.sketches)
        return [
            Entry(*row, self._state)
            for row in zip(each, keys.tolist(), signed.sketches, near, strict=True)
        ]

    def add(self, entry: Entry) -> int:
        """Remember a text; returns its number (0, 1, ...)."""
        number = len(self)
        self._fresh.append(entry)
        for key in entry.keys:
            bucket = self._latest.get(key)
            if bucket is None:
                self._latest[key] = number
            elif isinstance(bucket, int):
                self._latest[key] = [bucket, number]
            else:
                bucket.append(number)
        self._unsorted.append(entry.keys)
        return number

    def similar(self, entry: Entry) -> list[tuple[int, float]]:
        """Numbers and similarities of the remembered texts that resemble this one."""
        sets, sketches = [entry.shingles], entry.sketch[None]
        if entry.tables != self._state:
            keys = np.array([entry.keys], np.uint64)
            entry.near = self._in_tables(keys, sets, sketches)[0]
            entry.tables = self._state
        found: set[int] = set()
        for key in entry.keys:
            bucket = self._latest.get(key)
            if isinstance(bucket, int):
                found.add(bucket)
            elif bucket is not None:
                found.update(bucket)
        if not found:
            return entry.near
        near = [list(entry.near)]
        self._measure(sets, sketches, np.zeros(len(found), np.int64), np.array(sorted(found)), near)
        return near[0]

    def _put_away(self) -> None:
        if self._fresh:
            sets = [entry.shingles for entry in self._fresh]
            self._kept.put(sets, np.array([entry.sketch for entry in self._fresh]))
            self._fresh.clear()

    def _sort_in(self) -> None:
        """Put the latest texts into the tables."""
        self._put_away()
        first = len(self._kept) - len(self._unsorted)
        keys = np.array(self._unsorted, np.uint64) << NUMBER_BITS
        self._tables.put((keys | np.arange(first, len(self), dtype=np.uint64)[:, None]).ravel())
        self._latest.clear()
        self._unsorted.clear()
        self._state += 1

    def _in_tables(
        self, keys: Hashes, sets: Sequence[Hashes], sketches: Hashes
    ) -> list[list[tuple[int, float]]]:
        """For each of some texts, the texts in the tables that resemble it."""
        near: list[list[tuple[int, float]]] = [[] for _ in sets]
        wanted = keys << NUMBER_BITS
        wanted |= np.arange(len(sets), dtype=np.uint64)[:, None]
        every = self._tables.matches(np.sort(wanted, axis=None))
        for part in (every[i : i + _WAITING] for i in range(0, len(every), _WAITING)):
            ones = (part >> NUMBER_BITS).astype(np.int64)
            self._measure(sets, sketches, ones, (part & NUMBER).astype(np.int64), near)
        return near

    def _measure(
        self,
        sets: Sequence[Hashes],
        sketches: Hashes,
        ones: Numbers,
        numbers: Numbers,
        near: list[list[tuple[int, float]]],
    ) -> None:
        """Put those of the proposed pairs that resemble each other into `near`."""
        self._put_away()
        sizes = np.array([len(s) for s in sets])
        likely = self._kept.likely(sizes[ones], sketches[ones], numbers)
        pairs = self._kept.resembling(
            lambda some: [sets[i] for i in some.tolist()], ones[likely], numbers[likely]
        )
        for found in pairs:
            for one, number, similarity in zip(*(x.tolist() for x in found), strict=True):
                near[one].append((number, similarity))


# --- all pairs at once -------------------------------------------------------------------------


Wanted = Callable[[Numbers, Numbers], NDArray[np.bool_]]


class Corpus:
    """Texts that are all there before anything is asked: every pair that resembles each other.

    Texts with the same shingles are one class. A text takes 32 bytes of memory; keys and shingles
    are on disk, and one band is looked at after another.
    """

    def __init__(self, similarity: float, folder: Path | None = None) -> None:
        """Start empty; arguments as those of `NearIndex`."""
        self._signer = Signer(similarity)
        self._kept = _Kept(self._signer, similarity, folder)
        self._marks = _Grown(np.uint64)
        self._keys = Scratch(folder)
        self._blocks: list[int] = []
        """How many texts each piece of keys is of."""
        self._classes: tuple[Numbers, Numbers] | None = None

    def add(self, texts: Sequence[str]) -> None:
        """Take in at most BLOCK texts."""
        if not texts:
            return
        sets = shingle_sets(texts)
        begins = sets.ends[:-1]
        signed = self._signer.sign(sets.short, begins)
        self._kept.put(sets.each(), signed.sketches)
        self._keys.put(np.ascontiguousarray(signed.keys.T >> np.uint64(32), np.uint32).data)
        self._blocks.append(len(texts))
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
        first = self._sorted_out()[1]
        done = np.zeros(0, np.uint64)
        for band in range(self._signer.bands):
            fresh = [done]
            for ones, others in _equal(self._band(band)[first]):
                if wanted is not None:
                    use = wanted(ones, others)
                    ones, others = ones[use], others[use]
                one, other = first[ones], first[others]
                use = self._kept.likely(self._kept.sizes(one), self._kept.sketches(one), other)
                packed = (ones[use].astype(np.uint64) << np.uint64(32)) | others[use].astype(
                    np.uint64
                )
                packed = packed[~_among(packed, done)]
                fresh.append(packed)
                one = first[(packed >> np.uint64(32)).astype(np.int64)]
                other = first[(packed & np.uint64(0xFFFFFFFF)).astype(np.int64)]
                for found in self._kept.resembling(self._kept.take, one, other):
                    yield Pairs(self.same[found.ones], self.same[found.others], found.similarity)
            if sum(map(len, fresh)) <= _MOST_PAIRS:
                done = np.sort(np.concatenate(fresh))

    def _band(self, band: int) -> NDArray[np.uint32]:
        """The keys of all texts in a band."""
        pieces, start = [], 0
        for count in self._blocks:
            pieces.append(self._keys.get(start + 4 * count * band, 4 * count))
            start += 4 * count * self._signer.bands
        return np.frombuffer(b"".join(pieces), np.uint32)


def _equal(keys: NDArray[np.uint32]) -> Iterator[tuple[Numbers, Numbers]]:
    """All pairs of places with the same key, the lower place first, some at a time."""
    table = (keys.astype(np.uint64) << np.uint64(32)) | np.arange(len(keys), dtype=np.uint64)
    table.sort()
    places, ordered = table.astype(np.uint32), (table >> np.uint64(32)).astype(np.uint32)
    del table
    at = np.flatnonzero(ordered[1:] == ordered[:-1])
    for apart in range(1, len(keys)):
        # Keys that differ at this distance differ at every larger one.
        at = at[: np.searchsorted(at, len(keys) - apart)]
        at = at[ordered[at] == ordered[at + apart]]
        if not len(at):
            return
        for part in (at[i : i + _WAITING] for i in range(0, len(at), _WAITING)):
            yield places[part].astype(np.int64), places[part + apart].astype(np.int64)


def _among(numbers: Hashes, ordered: Hashes) -> NDArray[np.bool_]:
    """Which numbers are in a sorted array."""
    if not len(ordered):
        return np.zeros(len(numbers), bool)
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
