"""What a row costs in memory while a dataset is made or looked through: never its text."""

from __future__ import annotations

import gc
import json
import random
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest

from luthier.chat import Rendered
from luthier.data import spill, stored
from luthier.data.candidate import Candidate
from luthier.data.config import SplitConfig
from luthier.data.filters import exact_duplicates, near_duplicates
from luthier.data.kept import Kept
from luthier.data.lint import lint
from luthier.data.split import share_out
from luthier.example import Example, Message, Origin, content_id

WORDS = 150
EVERY = 20
"""One row in so many is a copy of the one before it: what was prepared for it must go, too."""
A_ROW = 1000
"""Bytes that a row may add; its text has 1,200 characters, and its shingles are as large. Of fewer
than 150,000 rows, 216 bytes each, and twice that for a moment, are what finds near-duplicates; then
that goes to disk."""


def texts(count: int) -> Iterator[str]:
    chance = random.Random(count)
    words = ["".join(chance.choices("abcdefghijklmnop", k=7)) for _ in range(3000)]
    text = ""
    for number in range(count):
        if number % EVERY != EVERY - 1:
            text = " ".join(chance.choices(words, k=WORDS))
        yield text


def candidates(count: int) -> Iterator[Candidate]:
    for number, text in enumerate(texts(count), 1):
        messages = (Message("user", text), Message("assistant", "Yes."))
        origin = Origin("r.jsonl", number)
        example = Example(content_id([text]), origin, {"input": text}, messages)
        yield Candidate(example, text, "Yes.", [], lambda e: Rendered([1], [True]))


def per_row(peak: Callable[[int], int], few: int, many: int) -> float:
    peak(few // 4)  # what is imported and cached once
    return (peak(many) - peak(few)) / (many - few)


def test_a_row_of_a_build_costs_less_than_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spill, "_CHUNK", 1 << 16)
    monkeypatch.setattr(stored, "_WAITING", 1 << 12)

    def peak(count: int) -> int:
        gc.collect()
        tracemalloc.start()
        filters = [exact_duplicates.build(), near_duplicates.build()]
        with Kept(tmp_path) as kept:
            rows = candidates(count)
            while block := list(islice(rows, 256)):
                filters[1].prepare(block)  # type: ignore[attr-defined]
                for row in block:
                    if any(judge(row) for judge in filters):
                        continue
                    for judge in filters:
                        judge.remember(row)  # type: ignore[attr-defined]
                    kept.append(
                        row.example, row.question, part="r", family=None, tokens=200, trained=4
                    )
            filters.clear()
            shared = share_out(kept, kept.questions(), config=SplitConfig(), seed=0)
            assert len(shared.splits) == len(kept) == count - count // EVERY
            assert sum(1 for _ in kept.examples()) == len(kept)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert per_row(peak, 1500, 4500) < A_ROW


def test_a_row_that_lint_looks_at_costs_less_than_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "_WAITING", 1 << 12)
    monkeypatch.setattr("luthier.data.lint.BLOCK", 128)
    monkeypatch.setattr("luthier.data.near.BLOCK", 128)
    monkeypatch.setattr("luthier.data.linting.reading._SAMPLE", 50)

    def peak(count: int) -> int:
        path = tmp_path / f"{count}.jsonl"
        with open(path, "w", encoding="utf-8") as file:
            for text in texts(count):
                file.write(json.dumps({"input": text, "output": "It is so."}) + "\n")
        gc.collect()
        tracemalloc.start()
        assert sum(lint(path).rows.values()) == count
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert per_row(peak, 500, 1500) < A_ROW
