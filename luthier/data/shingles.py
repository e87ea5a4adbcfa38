"""Shingles: a text as the set of its word 3-grams, hashed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from luthier.data.words import hashed_words

Hashes = NDArray[np.uint64]
Numbers = NDArray[np.signedinteger[Any]]
SHINGLE_WORDS = 3
BLOCK = 1024
"""Sets at most that are looked at together."""
_MIX = [np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)]
_SET_BITS = np.uint64(54)
"""Of a shingle. The ten bits above say in which of BLOCK sets it is, so that one sort does all."""
_SHINGLE = np.uint64((1 << 54) - 1)


class Sets(NamedTuple):
    """The shingles of several texts behind each other; those of a text are sorted and distinct."""

    hashes: Hashes
    ends: Numbers
    """Where the first text begins, and where each one ends."""

    @property
    def short(self) -> NDArray[np.uint32]:
        """The upper 32 bits of every shingle."""
        return (self.hashes >> np.uint64(22)).astype(np.uint32)

    def each(self) -> list[Hashes]:
        """The shingles of every text."""
        ends = self.ends.tolist()
        return [self.hashes[a:b] for a, b in pairwise(ends)]


def shingles(text: str) -> Hashes:
    """The word 3-grams of a text as sorted distinct hashes of 54 bits.

    Case and punctuation do not count. A text of fewer than three words is one shingle; a text
    without words (`?!`) is its characters.
    """
    return shingle_sets([text]).hashes


def shingle_sets(texts: Sequence[str], scopes: Sequence[int] | None = None) -> Sets:
    """The shingles of at most BLOCK texts.

    Args:
        texts: the texts.
        scopes: a number below 2^64 for each: texts of different scopes have no shingle in common.
    """
    words, ends = hashed_words(texts)
    counts = np.diff(ends)
    sizes = np.maximum(counts, SHINGLE_WORDS)
    begins = np.concatenate([[0], np.cumsum(sizes)])
    padded = np.zeros(begins[-1] + SHINGLE_WORDS, np.uint64)
    padded[np.arange(len(words)) + np.repeat(begins[:-1] - ends[:-1], counts)] = words
    for place in np.flatnonzero(counts == 0).tolist():
        padded[begins[place]] = _hash64(texts[place].strip())
    inside = np.ones(begins[-1], bool)
    for back in range(1, SHINGLE_WORDS):
        inside[begins[1:] - back] = False
    mixed = np.zeros(begins[-1], np.uint64)
    for place, factor in enumerate(_MIX):
        mixed += padded[place : place + len(mixed)] * factor
    mixed = mixed[inside]
    owners = np.repeat(np.arange(len(texts), dtype=np.uint64), sizes - (SHINGLE_WORDS - 1))
    if scopes is not None:
        mixed ^= np.array(scopes, np.uint64)[owners]
    mixed ^= mixed >> np.uint64(29)
    mixed *= _MIX[0]
    mixed >>= np.uint64(64) - _SET_BITS
    mixed |= owners << _SET_BITS
    mixed.sort()
    mixed = mixed[np.flatnonzero(np.diff(mixed, prepend=~mixed[:1]))]
    found = np.bincount((mixed >> _SET_BITS).astype(np.int64), minlength=len(texts))
    return Sets(mixed & _SHINGLE, np.concatenate([[0], np.cumsum(found)]))


def marks(sets: Sets) -> Hashes:
    """A hash of each of some sets: equal for equal sets."""
    spread = (sets.hashes ^ (sets.hashes >> np.uint64(23))) * _MIX[1]
    spread ^= spread >> np.uint64(31)
    found: Hashes = np.add.reduceat(spread * _MIX[2], sets.ends[:-1])
    return found


def _hash64(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def jaccard(ones: Sequence[Hashes], others: Sequence[Hashes]) -> NDArray[np.float64]:
    """Exact similarity of sets of shingles, pair by pair."""
    found = np.empty(len(ones))
    for start in range(0, len(ones), BLOCK):
        sets = [*ones[start : start + BLOCK], *others[start : start + BLOCK]]
        count = len(sets) // 2
        sizes = np.array([len(s) for s in sets])
        pair = np.arange(2 * count, dtype=np.uint64) % np.uint64(count)
        every = np.concatenate(sets) | (np.repeat(pair, sizes) << _SET_BITS)
        every.sort()
        twice = every[1:][every[1:] == every[:-1]] >> _SET_BITS
        common = np.bincount(twice.astype(np.int64), minlength=count)
        found[start : start + count] = common / (sizes[:count] + sizes[count:] - common)
    return found
