"""Sharing out: exact where groups allow, grouped, seeded, stable; nothing leaks into a test."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.config import SplitConfig
from luthier.data.rows import Reject
from luthier.data.shingles import shingles
from luthier.data.split import Head, share_out
from luthier.example import Example, Origin, Split, content_id

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


def example(
    text: str, label: str | None = None, split: Split | None = None, row: int = 1
) -> Example:
    source = f"{split or 'auto'}.csv"
    return Example(content_id([text, split]), Origin(source, row), {"input": text}, label=label,
                   split=split)  # fmt: skip


def distinct(count: int, label: str = "a", start: int = 0) -> list[Example]:
    """Rows that do not resemble each other."""
    return [
        example(f"{label}{i} {label}{i}x {label}{i}y", label) for i in range(start, start + count)
    ]


class Outcome(NamedTuple):
    """Rows as a build would write them."""

    examples: list[Example]
    rejects: list[Reject]


def share(examples: list[Example], seed: int = 42, **settings: Any) -> Outcome:
    config = SplitConfig(**settings).decided(calibrated=True)
    family = config.group_by or ""
    heads = [Head(e.id, e.origin, e.label, e.split, e.fields.get(family)) for e in examples]
    questions = (e.fields["input"] for e in examples)
    shared = share_out(heads, questions, config=config, seed=seed)
    return Outcome(
        [
            e.but(split=shared.splits[i], group=shared.groups[i])
            for i, e in enumerate(examples)
            if i not in shared.claimed
        ],
        [Reject(examples[i].origin, why, {}) for i, why in sorted(shared.claimed.items())],
    )


def sizes(shared: Outcome) -> Counter[str | None]:
    return Counter(e.split for e in shared.examples)


@pytest.mark.parametrize("count", [1, 2, 7, 10, 99, 100, 333])
def test_shares_are_met_to_the_row(count: int) -> None:
    found = sizes(share(distinct(count)))
    expected = {"validation": 0.1, "calibration": 0.1, "test": 0.2}
    for split, part in expected.items():
        assert found[split] == int(part * count + 0.5), split
    assert sum(found.values()) == count


def test_every_label_gets_its_part_of_every_split() -> None:
    counts = {"a": 503, "b": 97, "c": 31, "d": 2, "e": 1}
    rows = [e for label, n in counts.items() for e in distinct(n, label)]
    random.Random(0).shuffle(rows)
    shared = share(rows)
    assert sizes(shared)["test"] == round(0.2 * len(rows))
    for split, part in {"test": 0.2, "validation": 0.1, "calibration": 0.1}.items():
        found = Counter(e.label for e in shared.examples if e.split == split)
        for label, n in counts.items():
            assert abs(found[label] - part * n) <= 1.5, (split, label)
    trained = {e.label for e in shared.examples if e.split == "train"}
    assert trained == set(counts)


def test_the_order_of_rows_does_not_matter_and_the_seed_does() -> None:
    rows = distinct(200)
    first = {e.id: e.split for e in share(rows).examples}
    assert {e.id: e.split for e in share(rows[::-1]).examples} == first
    other = {e.id: e.split for e in share(rows, seed=7).examples}
    assert sum(first[i] != other[i] for i in first) > 40


def test_splits_are_filled_with_groups_of_every_size_alike() -> None:
    """Ordered by the lowest rank of their rows, nine of ten test rows would be of a group."""
    alone = distinct(600)
    grouped = [
        example(f"g{n} g{n}b g{n}c g{n}d g{n}e end{i}", "a") for n in range(60) for i in range(10)
    ]
    parts = []
    for seed in range(6):
        shared = share(alone + grouped, seed=seed)
        test = [e.group is not None for e in shared.examples if e.split == "test"]
        parts.append(sum(test) / len(test))
    assert 0.42 < sum(parts) / len(parts) < 0.58, parts


def test_appended_rows_move_few_others() -> None:
    rows = distinct(400)
    before = {e.id: e.split for e in share(rows).examples}
    after = {e.id: e.split for e in share(rows + distinct(40, start=400)).examples}
    assert sum(before[i] != after[i] for i in before) <= 0.05 * len(before)


def resembles(a: str, b: str, threshold: float) -> bool:
    one, other = set(shingles(a).tolist()), set(shingles(b).tolist())
    return len(one & other) >= threshold * len(one | other) - 1e-9


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.3, 0.6, 0.9, 1.0]))
def test_no_near_duplicates_straddle_a_split(seed: int, threshold: float) -> None:
    chance = random.Random(seed)
    rows: list[Example] = []
    for number in range(40):
        if rows and chance.random() < 0.5:
            words = str(chance.choice(rows).fields["input"]).split()
            words[chance.randrange(len(words))] = chance.choice(WORDS)
        else:
            words = chance.choices(WORDS, k=chance.randint(2, 12))
        fixed: Split | None = chance.choice([None] * 6 + ["train", "validation", "test"])  # type: ignore[list-item]
        rows.append(example(" ".join(words), chance.choice("ab"), fixed, number))
    shared = share(rows, seed=seed, near_duplicates=threshold)
    assert len(shared.examples) + len(shared.rejects) == len(rows)
    for i, a in enumerate(shared.examples):
        for b in shared.examples[:i]:
            if resembles(a.fields["input"], b.fields["input"], threshold):
                assert a.split == b.split, (a, b)
                assert a.group is not None and a.group == b.group
    by_row = {e.origin.row: e for e in rows}
    for kept in shared.examples:
        assert by_row[kept.origin.row].split in (None, kept.split)


def test_groups_stay_whole_and_shares_are_still_met() -> None:
    groups = [
        [example(f"g{g} h{g} i{g} j{g} k{g} l{g} m{g} tail{i}", "a") for i in range(3)]
        for g in range(20)
    ]
    rows = [e for g in groups for e in g] + distinct(140)
    shared = share(rows)
    splits = {e.id: e.split for e in shared.examples}
    assert all(len({splits[e.id] for e in g}) == 1 for g in groups)
    assert sizes(shared) == {"train": 120, "test": 40, "validation": 20, "calibration": 20}
    assert sum(e.group is not None for e in shared.examples) == 60


def test_one_large_group_does_not_make_up_a_split() -> None:
    large = [example(f"{' '.join(f'w{i}' for i in range(20))} t{i}", "a") for i in range(9)]
    shared = share(large + distinct(91))
    assert {e.split for e in shared.examples if e.group} == {"train"}
    assert sizes(shared)["validation"] == 10


def test_rows_that_a_test_source_has_are_rejected_from_training() -> None:
    text = "We will build four hundred new clinics before the next election in May"
    near = text.replace("May", "June")
    rows = [
        example(text, "a", row=5), example(near, "a", "train", 6), example(text, "a", "test", 7),
        example(near, "a", "validation", 8), *distinct(20),
    ]  # fmt: skip
    shared = share(rows)
    assert [(r.origin.row, r.what) for r in shared.rejects] == [
        (5, "also in test"), (6, "also in test"), (8, "also in test"),
    ]  # fmt: skip
    assert shared.rejects[0].reason == "also in test: the input is the same as test.csv:7"
    assert "0.83 similar to test.csv:7" in shared.rejects[1].reason
    assert [e.origin.row for e in shared.examples if e.origin.source == "test.csv"] == [7]


def test_a_row_that_resembles_a_fixed_training_row_follows_it() -> None:
    fixed = [example(f"x{i} y{i} z{i} u{i} v{i}", "a", "train") for i in range(30)]
    like = [example(f"x{i} y{i} z{i} u{i} v{i} w{i}", "a") for i in range(30)]
    shared = share(fixed + like)
    assert sizes(shared) == {"train": 60} and not shared.rejects


def test_rows_of_one_family_share_a_split() -> None:
    rows = [
        Example(
            content_id([i]), Origin("f.csv", i),
            {"input": f"q{i} q{i}x q{i}y", "page": f"p{i // 5}"}, label="a",
        )
        for i in range(200)
    ]  # fmt: skip
    shared = share(rows, group_by="page")
    by_page: dict[str, set[str | None]] = {}
    for e in shared.examples:
        by_page.setdefault(e.fields["page"], set()).add(e.split)
    assert all(len(splits) == 1 for splits in by_page.values())
    assert sizes(shared) == {"train": 120, "test": 40, "calibration": 20, "validation": 20}
