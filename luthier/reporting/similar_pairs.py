"""The most similar pairs of some texts, exactly, without comparing every text with every other."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from luthier.reporting.diversity import words

SHINGLE_WORDS = 3
MOST_WORDS = 150
"""Of a text, from its start, that are compared."""


class Pair(NamedTuple):
    """Two texts by their places, and how similar they are (0 to 1)."""

    first: int
    second: int
    similarity: float


def most_similar_pairs(texts: Sequence[str], most: int = 10) -> list[Pair]:
    """The pairs with the largest Jaccard similarity over word 3-grams, most similar first.

    Shingles that few texts have come first in each text. A pair whose first common shingle is the
    i-th of n of one of them has a similarity of at most (n - i) / n; shingles are taken by that
    bound, and none is taken that can only give less than what is already found (C. Xiao, W. Wang,
    X. Lin, H. Shang, "Top-k set similarity joins", ICDE 2009).

    Args:
        texts: their first 150 words are compared; those without a word are left out.
        most: how many pairs.

    Returns:
        Pairs with something in common; of equally similar ones, which are listed is settled by
        their order.
    """
    sets = [_shingles(text) for text in texts]
    frequency: Counter[tuple[str, ...]] = Counter()
    for one in sets:
        frequency.update(one)
    # A shingle of one text only says nothing about pairs, but counts in the size of its text.
    number = {
        s: i
        for i, (s, n) in enumerate(sorted(frequency.items(), key=lambda item: (item[1], item[0])))
        if n > 1
    }
    shared = [sorted(number[s] for s in one if s in number) for one in sets]
    sizes = [len(one) for one in sets]
    as_sets = [frozenset(one) for one in shared]
    best: list[tuple[float, int, int]] = []
    index: dict[int, list[int]] = {}
    compared: set[int] = set()
    for text, place in _by_bound(shared, sizes):
        floor = best[0][0] if len(best) == most else 0.0
        if (len(shared[text]) - place) / sizes[text] <= floor:
            break
        posting = index.setdefault(shared[text][place], [])
        for other in posting:
            low, high = sorted((text, other))
            key = low * len(texts) + high
            if key in compared:
                continue
            compared.add(key)
            common = len(as_sets[low] & as_sets[high])
            similarity = common / (sizes[low] + sizes[high] - common)
            entry = (similarity, -low, -high)
            if len(best) < most:
                heapq.heappush(best, entry)
            elif entry > best[0]:
                heapq.heapreplace(best, entry)
            if len(best) == most and best[0][0] == 1.0:
                break
        posting.append(text)
    return [Pair(-low, -high, similarity) for similarity, low, high in sorted(best, reverse=True)]


def _by_bound(shared: Sequence[Sequence[int]], sizes: Sequence[int]) -> list[tuple[int, int]]:
    """(text, place of a shingle in it), the largest possible similarity first."""
    counts = np.array([len(one) for one in shared], np.int64)
    owners = np.repeat(np.arange(len(shared)), counts)
    places = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    bounds = (counts[owners] - places) / np.array(sizes, np.float64)[owners]
    order = np.argsort(-bounds, kind="stable")
    return list(zip(owners[order].tolist(), places[order].tolist(), strict=True))


def _shingles(text: str) -> set[tuple[str, ...]]:
    found = words(text)[:MOST_WORDS]
    if len(found) < SHINGLE_WORDS:
        return {tuple(found)} if found else set()
    return set(zip(found, found[1:], found[2:], strict=False))
