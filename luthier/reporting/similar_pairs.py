"""The most similar pairs of some texts, exactly, without comparing every text with every other."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Sequence
from itertools import count, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from luthier.reporting.diversity import words

MOST_WORDS = 150
"""Of a text, from its start, that are compared."""
MOST_WORK = 10_000_000
"""Shingles that may be looked at, in half a second or so; of texts that need more, each 4th is
compared."""
_PER_PAIR = 20
"""What taking up a pair costs, in shingles."""
_WORD_BITS = 21
_NO_WORD = (1 << _WORD_BITS) - 1

Numbers = NDArray[np.int64]


class Pair(NamedTuple):
    """Two texts by their places, and how similar they are (0 to 1)."""

    first: int
    second: int
    similarity: float


class SimilarPairs(NamedTuple):
    """The most similar pairs, most similar first."""

    pairs: list[Pair]
    compared: int
    """Texts among which they were looked for: all, or each 4th, 16th, ... of very uniform ones."""


class _Shingled(NamedTuple):
    """Texts as sets of word 3-grams."""

    shared: list[list[int]]
    """Per text the shingles that another text has, too; numbered from the rarest."""
    sizes: list[int]
    """Per text how many shingles it has, its own ones included."""


def most_similar_pairs(texts: Sequence[str], most: int = 10) -> SimilarPairs:
    """The pairs with the largest Jaccard similarity over word 3-grams.

    Shingles that few texts have come first in each text. A pair whose first common shingle has m
    shingles behind it, itself included, in one of them has at most m in common; shingles are taken
    by that bound, the highest first, and none is taken that can only give less than what is
    already found (C. Xiao, W. Wang, X. Lin, H. Shang, "Top-k set similarity joins", ICDE 2009).

    Args:
        texts: fewer than two million words; the first 150 of each are compared, and a text without
            a word is like no other.
        most: how many pairs.

    Returns:
        Pairs that have something in common. Which of several equally similar ones are listed is
        settled by the order of the texts.
    """
    step = 1
    while True:
        places = range(0, len(texts), step)
        found = _search(_shingled([texts[i] for i in places]), most)
        if found is not None:
            pairs = [Pair(places[p.first], places[p.second], p.similarity) for p in found]
            return SimilarPairs(pairs, len(places))
        step *= 4


def _search(texts: _Shingled, most: int) -> list[Pair] | None:
    """The most similar pairs; None where that takes too long."""
    shared, sizes = texts
    as_sets = [frozenset(one) for one in shared]
    best: list[tuple[float, int, int]] = []
    # Shingle -> (shingles that are left of a text, its size) -> texts, which share one bound.
    index: dict[int, dict[tuple[int, int], list[int]]] = {}
    compared: set[tuple[int, int]] = set()
    work = 0
    floor = 0.0  # similarity that a pair must exceed to be listed
    for text, place in _by_bound(texts):
        size, own = sizes[text], as_sets[text]
        left = len(own) - place
        if left / size <= floor:
            break
        postings = index.setdefault(shared[text][place], {})
        for (others_left, others_size), others in postings.items():
            most_common = min(left, others_left)
            work += _PER_PAIR
            for other in others:
                if most_common / (size + others_size - most_common) <= floor:
                    break
                work += _PER_PAIR
                pair = (text, other) if text < other else (other, text)
                if pair in compared:
                    continue
                compared.add(pair)
                work += min(size, others_size)
                both = len(own & as_sets[other])
                similarity = both / (size + others_size - both)
                if similarity > floor:
                    heapq.heappush(best, (similarity, -pair[0], -pair[1]))
                    if len(best) > most:
                        heapq.heappop(best)
                    floor = best[0][0] if len(best) == most else 0.0
        if work > MOST_WORK:
            return None
        postings.setdefault((left, size), []).append(text)
    return [Pair(-low, -high, similarity) for similarity, low, high in sorted(best, reverse=True)]


def _by_bound(texts: _Shingled) -> list[tuple[int, int]]:
    """(text, place of a shingle in it), the largest possible similarity first."""
    counts = np.array([len(one) for one in texts.shared], np.int64)
    owners = np.repeat(np.arange(len(counts)), counts)
    places = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    bounds = (counts[owners] - places) / np.array(texts.sizes, np.float64)[owners]
    order = np.argsort(-bounds, kind="stable")
    return list(zip(owners[order].tolist(), places[order].tolist(), strict=True))


def _shingled(texts: Sequence[str]) -> _Shingled:
    numbers: defaultdict[str, int] = defaultdict(count().__next__)
    sets = [_shingles([numbers[w] for w in words(text)[:MOST_WORDS]]) for text in texts]
    sizes = np.array([len(one) for one in sets], np.int64)
    every = np.concatenate(sets) if sets else np.zeros(0, np.int64)
    _, which, times = np.unique(every, return_inverse=True, return_counts=True)
    rank = np.empty(len(times), np.int64)
    rank[np.argsort(times, kind="stable")] = np.arange(len(times))
    # A shingle of one text only says nothing about pairs, but counts in the size of its text.
    several = times[which] > 1
    owners = np.repeat(np.arange(len(sets)), sizes)[several]
    ranks = rank[which][several]
    order = np.lexsort((ranks, owners))
    ends = np.cumsum(np.bincount(owners, minlength=len(sets))).tolist()
    in_order = ranks[order].tolist()
    shared = [in_order[a:b] for a, b in pairwise([0, *ends])]
    return _Shingled(shared, sizes.tolist())


def _shingles(ids: list[int]) -> Numbers:
    """Distinct 3-grams of numbered words; fewer than three words are one shingle."""
    if not ids:
        return np.zeros(0, np.int64)
    word = np.array(ids + [_NO_WORD] * max(0, 3 - len(ids)), np.int64)
    distinct: Numbers = np.unique(word[:-2] << 2 * _WORD_BITS | word[1:-1] << _WORD_BITS | word[2:])
    return distinct
