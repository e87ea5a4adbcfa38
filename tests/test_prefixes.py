"""Groups of rows by what their prompts start with."""

from __future__ import annotations

import math
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.prefixes import MIN_PREFIX, find_prefixes

prompts = st.lists(st.lists(st.integers(0, 1), max_size=40), max_size=25)


def computed(rows: list[list[int]], group_of: list[int], lengths: list[int], size: int) -> int:
    """Tokens an epoch computes with such groups."""
    total = sum(len(row) for row in rows)
    for group, length in enumerate(lengths):
        count = group_of.count(group)
        total -= length * (count - math.ceil(count / size))
    return total


@given(prompts, st.integers(1, 6))
@settings(max_examples=200, deadline=None)
def test_groups_share_what_they_say(rows: list[list[int]], size: int) -> None:
    found = find_prefixes(rows, size)

    assert len(found.group_of) == len(rows)
    assert set(found.group_of) == set(range(len(found.lengths)))
    for group, length in enumerate(found.lengths):
        members = [r for r, g in zip(rows, found.group_of, strict=True) if g == group]
        starts = {tuple(row[:length]) for row in members}
        assert len(starts) == 1 and len(starts.pop()) == length
        assert length == 0 or length >= MIN_PREFIX


@given(prompts, st.integers(1, 6))
@settings(max_examples=200, deadline=None)
def test_groups_are_never_worse_than_one(rows: list[list[int]], size: int) -> None:
    found = find_prefixes(rows, size)

    common = 0
    while rows and all(len(r) > common and r[common] == rows[0][common] for r in rows):
        common += 1
    one = [common if common >= MIN_PREFIX else 0]
    assert computed(rows, found.group_of, found.lengths, size) <= computed(
        rows, [0] * len(rows), one, size
    )


def test_tasks_with_their_own_instructions_are_told_apart() -> None:
    rng = random.Random(0)
    header = list(range(1, 13))
    tasks = [header + [rng.randrange(100, 900) for _ in range(200)] for _ in range(6)]
    rows = [tasks[i % 6] + [rng.randrange(100, 900) for _ in range(20)] for i in range(120)]

    found = find_prefixes(rows, 8)

    assert len(found.lengths) == 6 and min(found.lengths) >= 212
    assert all(found.group_of[i] == found.group_of[i % 6] for i in range(120))


def test_free_prompts_stay_in_one_random_group() -> None:
    rng = random.Random(0)
    header = list(range(1, 21))
    rows = [header + [rng.randrange(100, 900) for _ in range(30)] for _ in range(200)]

    found = find_prefixes(rows, 8)

    assert found.lengths == [20]


def test_prompts_nested_thousands_deep() -> None:
    rows = [list(range(length)) for length in range(1, 3000)]

    found = find_prefixes(rows, 4)

    assert len(found.group_of) == len(rows)
