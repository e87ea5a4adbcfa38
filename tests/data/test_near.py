"""Near-duplicates: measured exactly, and none is missed."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.near import MISS, NearIndex, Union, banding, resemblance, shingles

WORDS = [
    "the",
    "a",
    "we",
    "will",
    "build",
    "cut",
    "new",
    "old",
    "taxes",
    "clinics",
    "schools",
    "next",
    "year",
    "now",
    "in",
    "every",
    "town",
]


def grams(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    if len(words) < 3:
        return {tuple(words)}
    return {tuple(words[i : i + 3]) for i in range(len(words) - 2)}


def jaccard(a: str, b: str) -> float:
    return len(grams(a) & grams(b)) / len(grams(a) | grams(b))


def test_case_and_punctuation_do_not_count_and_order_does() -> None:
    same = [shingles(t).tolist() for t in ("We will BUILD, clinics!", "we will build clinics")]
    assert same[0] == same[1] and len(same[0]) == 2
    assert shingles("clinics build will we").tolist() != same[0]
    assert len(shingles("one two")) == len(shingles("?!")) == len(shingles("")) == 1
    assert shingles("?!").tolist() != shingles("!!").tolist()
    assert len(shingles("我们将建造")) == 3


@pytest.mark.parametrize("similarity", [0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0])
def test_bands_miss_a_pair_at_the_threshold_once_in_a_million(similarity: float) -> None:
    bands, rows = banding(similarity)
    assert bands * rows <= 256
    assert (1 - min(similarity**rows, 1 - 1e-9)) ** bands <= MISS


def test_signatures_agree_as_often_as_sets_do() -> None:
    a = np.arange(0, 90, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    index = NearIndex(0.8)
    rows = index._rows
    agreed = total = 0
    for shift in range(40):
        moved = a + np.uint64(shift * 1_000_003)
        one, other = index._entry(moved[:70]), index._entry(moved[20:])
        agreed += sum(x == y for x, y in zip(one.keys, other.keys, strict=True))
        total += len(one.keys)
    assert agreed / total == pytest.approx((50 / 90) ** rows, abs=0.03)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.3, 0.5, 0.6, 0.8, 1.0]))
def test_exactly_the_near_duplicates_are_found(seed: int, similarity: float) -> None:
    chance = random.Random(seed)
    texts: list[str] = []
    for _ in range(25):
        if texts and chance.random() < 0.6:
            words = chance.choice(texts).split()
            words[chance.randrange(len(words))] = chance.choice(WORDS)
        else:
            words = chance.choices(WORDS, k=chance.randint(1, 14))
        texts.append(" ".join(words))
    found = resemblance(texts, similarity)
    pairs = {(a, b): s for a, b, s in found.pairs}
    for j in range(len(texts)):
        for i in range(j):
            a, b = sorted((found.same[i], found.same[j]))
            expected = jaccard(texts[i], texts[j])
            assert (a == b) == (grams(texts[i]) == grams(texts[j]))
            if a != b:
                assert ((a, b) in pairs) == (expected >= similarity), (texts[i], texts[j])
                assert pairs.get((a, b), expected) == pytest.approx(expected)


def test_progress_is_told_of_every_text() -> None:
    told: list[int] = []
    found = resemblance(["a b c d", "A b c d!", "x"], 0.8, told.append)
    assert found.same == [0, 0, 1] and told == [1, 1, 1]


def test_union() -> None:
    union = Union(5)
    union.join(0, 1)
    union.join(3, 4)
    union.join(1, 4)
    assert len({union.find(i) for i in (0, 1, 3, 4)}) == 1 and union.find(2) == 2
