"""Near-duplicates: texts that share most of their word 3-grams with one that came before.

Resemblance is the Jaccard similarity of the sets of shingles (A. Broder, "On the resemblance and
containment of documents", 1997). MinHash proposes pairs (see `minhash.py`); each proposed pair is
then measured exactly, so nothing is ever called similar that is not. A pair right at the
threshold is missed with a probability of at most one in a million.

`NearIndex` asks for one text after another; for all pairs of a corpus see `all_pairs.py`. Texts are
taken in blocks. What memory holds of a text does not grow with its length: its shingles
lie on disk until the command ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from luthier.data.minhash import Signer
from luthier.data.shingles import BLOCK, Hashes, Numbers, shingle_sets
from luthier.data.stored import Grown, StoredShingles
from luthier.data.tables import NUMBER, NUMBER_BITS, Tables

_WAITING = 1 << 18
"""Proposed pairs that are looked at together."""


class _Kept(StoredShingles):
    """With the sketches, which stay in memory: sixteen bytes more for a text."""

    def __init__(self, signer: Signer, similarity: float, folder: Path | None) -> None:
        super().__init__(similarity, folder)
        self.signer = signer
        self._sketches = Grown(np.uint64, 2)

    def keep(self, sets: Sequence[Hashes], sketches: Hashes) -> None:
        self._sketches.put(sketches)
        self.put(sets)

    def likely(self, sizes: Numbers, sketches: Hashes, numbers: Numbers) -> NDArray[np.bool_]:
        """Whether texts of these sizes and sketches may resemble kept ones, pair by pair."""
        alike = self.signer.alike(sketches, self._sketches.rows[numbers])
        return self.fit(sizes, numbers) & alike


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

    def size(self, number: int) -> int:
        """How many shingles a remembered text has."""
        self._put_away()
        return int(self._kept.sizes(np.array([number]))[0])

    def add(self, entry: Entry) -> int:
        """Remember a text; returns its number (0, 1, ...)."""
        number = len(self)
        # What it was made from belongs to all texts of its block, and would stay with it.
        entry.shingles = entry.shingles.copy()
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
            self._kept.keep(sets, np.array([entry.sketch for entry in self._fresh]))
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
