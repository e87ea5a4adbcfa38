"""Near-duplicates: pairs of texts that share most of their word 3-grams.

Resemblance is the Jaccard similarity of the sets of shingles (A. Broder, "On the resemblance and
containment of documents", 1997). MinHash signatures cut into bands (Leskovec, Rajaraman, Ullman,
"Mining of Massive Datasets", section 3.4) propose pairs; each proposed pair is then measured
exactly, so nothing is ever called similar that is not. Bands are chosen such that a pair right at
the threshold is missed with a probability of at most one in a million.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
SHINGLE_WORDS = 3
MISS = 1e-6
MAX_HASHES = 256
_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
# Scripts without spaces between words: every character counts as a word.
_WORD = re.compile(f"[{_CJK}]|[^\\W{_CJK}]+")
_MIX = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64)
_SLACK = 1e-9
"""Similarities are ratios of small integers; this only absorbs their rounding."""


@lru_cache(maxsize=1 << 18)
def _word(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")


def shingles(text: str) -> Hashes:
    """The word 3-grams of a text as sorted distinct 64-bit hashes.

    Case and punctuation do not count. A text of fewer than three words is one shingle; a text
    without words (`?!`) is its characters.
    """
    words = _WORD.findall(text.casefold()) or [text.strip()]
    ids = np.zeros(max(len(words), SHINGLE_WORDS), dtype=np.uint64)
    ids[: len(words)] = [_word(w) for w in words]
    windows = np.lib.stride_tricks.sliding_window_view(ids, SHINGLE_WORDS)
    mixed: Hashes = (windows * _MIX).sum(axis=1, dtype=np.uint64)
    mixed ^= mixed >> np.uint64(29)
    return np.unique(mixed * _MIX[:1])


def banding(similarity: float) -> tuple[int, int]:
    """Bands and rows per band that find a pair of this similarity with probability 1 - MISS.

    A band of r rows agrees with probability s^r, so b bands all miss with (1 - s^r)^b. More rows
    propose fewer wrong pairs; they are bounded by MAX_HASHES = b r. Below a similarity of about
    0.05 no such banding exists and the one with the fewest misses (r = 1) is taken.
    """
    best = (MAX_HASHES, 1)
    for rows in range(1, 17):
        agree = min(similarity**rows, 1 - 1e-9)
        bands = math.ceil(math.log(MISS) / math.log1p(-agree))
        if bands * rows <= MAX_HASHES:
            best = (bands, rows)
    return best


class Entry(NamedTuple):
    """A text as the index sees it."""

    shingles: Hashes
    keys: list[int]
    """One bucket per band."""


class NearIndex:
    """Texts seen so far, to be asked which of them resemble another."""

    def __init__(self, similarity: float) -> None:
        """Start empty; from this Jaccard similarity on, in (0, 1], texts are near-duplicates."""
        self.similarity = similarity
        self._bands, self._rows = banding(similarity)
        random = np.random.default_rng(1997)
        count = self._bands * self._rows
        odd = np.uint64(1)
        self._factor: Hashes = random.integers(0, 2**64, count, dtype=np.uint64) | odd
        self._offset: Hashes = random.integers(0, 2**64, count, dtype=np.uint64)
        self._join: Hashes = random.integers(0, 2**64, self._rows, dtype=np.uint64) | odd
        self._band: Hashes = random.integers(0, 2**64, self._bands, dtype=np.uint64)
        self._buckets: dict[int, int | list[int]] = {}
        self._sets: list[Hashes] = []

    def entry(self, text: str) -> Entry:
        """Shingles and band keys of a text."""
        return self._entry(shingles(text))

    def _entry(self, hashes: Hashes) -> Entry:
        # Multiply-shift hashing stands in for random permutations; the smallest value is kept.
        smallest = np.full(len(self._factor), np.iinfo(np.uint64).max, dtype=np.uint64)
        for start in range(0, len(hashes), 4096):
            part = hashes[start : start + 4096, None] * self._factor + self._offset
            np.minimum(smallest, (part >> np.uint64(20)).min(axis=0), out=smallest)
        grouped = smallest.reshape(self._bands, self._rows)
        keys = (grouped * self._join).sum(axis=1, dtype=np.uint64) ^ self._band
        return Entry(hashes, keys.tolist())

    def add(self, entry: Entry) -> int:
        """Remember a text; returns its number (0, 1, ...)."""
        number = len(self._sets)
        self._sets.append(entry.shingles)
        for key in entry.keys:
            bucket = self._buckets.get(key)
            if bucket is None:
                self._buckets[key] = number
            elif isinstance(bucket, int):
                self._buckets[key] = [bucket, number]
            else:
                bucket.append(number)
        return number

    def similar(self, entry: Entry) -> list[tuple[int, float]]:
        """Numbers and similarities of the remembered texts that resemble this one."""
        found: set[int] = set()
        for key in entry.keys:
            bucket = self._buckets.get(key)
            if isinstance(bucket, int):
                found.add(bucket)
            elif bucket is not None:
                found.update(bucket)
        size = len(entry.shingles)
        least, most = size * self.similarity - _SLACK, size / self.similarity + _SLACK
        candidates = [n for n in sorted(found) if least <= len(self._sets[n]) <= most]
        if not candidates:
            return []
        measured = self._jaccard(entry.shingles, candidates)
        return [
            (n, float(s))
            for n, s in zip(candidates, measured, strict=True)
            if s >= self.similarity - _SLACK
        ]

    def _jaccard(self, hashes: Hashes, candidates: Sequence[int]) -> NDArray[np.float64]:
        """Exact similarity of one set to each candidate: (candidates,) float64."""
        sets = [self._sets[n] for n in candidates]
        sizes = np.array([len(s) for s in sets])
        every = np.concatenate(sets)
        place = np.minimum(np.searchsorted(hashes, every), len(hashes) - 1)
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        common = np.add.reduceat((hashes[place] == every).astype(np.int64), starts)
        ratio: NDArray[np.float64] = common / (len(hashes) + sizes - common)
        return ratio


class Resemblance(NamedTuple):
    """Which texts say the same, and which nearly."""

    same: list[int]
    """Per text the number of its class: texts of one class have the same shingles."""
    pairs: list[tuple[int, int, float]]
    """Pairs of classes at or above the threshold, with their similarity."""


def resemblance(
    texts: Sequence[str], similarity: float, advance: Callable[[int], None] = lambda n: None
) -> Resemblance:
    """Find all near-duplicates among texts.

    Args:
        texts: the texts.
        similarity: threshold, in (0, 1].
        advance: told after each text that one more is done.
    """
    index = NearIndex(similarity)
    classes: dict[bytes, int] = {}
    same: list[int] = []
    pairs: list[tuple[int, int, float]] = []
    for text in texts:
        hashes = shingles(text)
        mark = hashlib.blake2b(hashes.tobytes(), digest_size=16).digest()
        if mark not in classes:
            classes[mark] = len(classes)
            if similarity < 1:
                entry = index._entry(hashes)
                pairs += [(n, classes[mark], s) for n, s in index.similar(entry)]
                index.add(entry)
        same.append(classes[mark])
        advance(1)
    return Resemblance(same, pairs)


class Union:
    """Disjoint sets of 0 .. size - 1 (union-find with path halving)."""

    def __init__(self, size: int) -> None:
        """Start with every item on its own."""
        self.parent = list(range(size))

    def find(self, item: int) -> int:
        """The representative of an item's set."""
        while self.parent[item] != item:
            self.parent[item] = self.parent[self.parent[item]]
            item = self.parent[item]
        return item

    def join(self, a: int, b: int) -> None:
        """Make two sets one."""
        self.parent[self.find(b)] = self.find(a)
