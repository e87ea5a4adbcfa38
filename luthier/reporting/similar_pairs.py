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
    common = sorted((s for s, n in frequency.items() if n > 1), key=frequency.__getitem__)
    number = {shingle: i for i, shingle in enumerate(common)}
    shared = [sorted(number[s] for s in one if s in number) for one in sets]
    sizes = [len(one) for one in sets]
    best: list[tuple[float, int, int]] = []
    index: dict[int, list[int]] = {}
    compared: set[tuple[int, int]] = set()
    as_sets = [frozenset(one) for one in shared]
    floor = 0.0  # similarity that a pair must exceed to be listed
    for text, place in _by_bound(shared, sizes):
        size, own = sizes[text], as_sets[text]
        if (len(own) - place) / size <= floor:
            break
        posting = index.setdefault(shared[text][place], [])
        for other in posting:
            pair = (text, other) if text < other else (other, text)
            if min(size, sizes[other]) <= floor * max(size, sizes[other]) or pair in compared:
                continue
            compared.add(pair)
            both = len(own & as_sets[other])
            similarity = both / (size + sizes[other] - both)
            if similarity > floor:
                heapq.heappush(best, (similarity, -pair[0], -pair[1]))
                if len(best) > most:
                    heapq.heappop(best)
                floor = best[0][0] if len(best) == most else 0.0
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


def _shingles(text: str) -> list[tuple[str, ...]]:
    """Distinct word 3-grams in their order, which is that of every later step, ties included."""
    found = words(text)[:MOST_WORDS]
    if len(found) < SHINGLE_WORDS:
        return [tuple(found)] if found else []
    return list(dict.fromkeys(zip(found, found[1:], found[2:], strict=False)))
