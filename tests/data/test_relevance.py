"""Rows held to what their seeds are about."""

from __future__ import annotations

from pathlib import Path

import pytest

from luthier.chat import Rendered
from luthier.data.candidate import Candidate
from luthier.data.filters.relevance import build
from luthier.errors import DataError
from luthier.example import Example, Message, Origin


def candidate(question: str) -> Candidate:
    turns = (Message("user", question), Message("assistant", "a"))
    example = Example(question, Origin("r.csv", 1), messages=turns)
    return Candidate(example, question, "a", [], lambda e: Rendered([1], [True]))


@pytest.fixture
def seeds(tmp_path: Path) -> str:
    path = tmp_path / "seeds.csv"
    path.write_text(
        "input,output\nHow do I prune an apple tree?,In winter.\n"
        "When are tomatoes planted out?,After the frost.\n"
    )
    return str(path)


def test_a_row_is_as_relevant_as_its_nearest_seed_is_near(seeds: str) -> None:
    judge = build(seeds=seeds, minimum=0.3)
    assert judge(candidate("How do I prune a pear tree?")) is None
    said = judge(candidate("Who won the chess match?"))
    assert said is not None and said.startswith("off topic: 0.")
    rows = [candidate("Are tomatoes planted in May?"), candidate("Name a planet.")]
    judge.prepare(rows)  # type: ignore[attr-defined]
    assert [judge(row) is None for row in rows] == [True, False]


def test_what_nearly_repeats_a_seed_is_named(seeds: str) -> None:
    said = build(seeds=seeds, maximum=0.9)(candidate("When are tomatoes planted out?"))
    assert said is not None and "too near a seed: 1.00" in said and "seeds.csv:3" in said


def test_mistakes_are_told(seeds: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="seeds is '', expected a file of rows"):
        build(seeds="", minimum=0.1)
    with pytest.raises(DataError, match="give 'minimum' or 'maximum'"):
        build(seeds=seeds)
    with pytest.raises(DataError, match="not in"):
        build(seeds=seeds, minimum=7)
    with pytest.raises(DataError, match="no such file"):
        build(seeds=str(tmp_path / "nowhere.csv"), minimum=0.1)(candidate("x"))
