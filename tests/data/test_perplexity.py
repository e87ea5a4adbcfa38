"""Perplexity and IFD under a local model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.chat import Rendered, Renderer
from luthier.data.candidate import Candidate
from luthier.data.filters.perplexity import build
from luthier.errors import DataError
from luthier.example import Example, Message, Origin
from luthier.model import open_model, open_tokenizer
from luthier.recipe import ModelSection


def candidate(question: str, answer: str, number: int = 1) -> Candidate:
    turns = (Message("user", question), Message("assistant", answer))
    example = Example(str(number), Origin("r.csv", number), messages=turns)
    return Candidate(example, question, answer, [], lambda e: Rendered([1], [True]))


def by_hand(model: Any, ids: list[int], start: int) -> float:
    """Mean loss of the tokens from a place on."""
    with torch.inference_mode():
        scores = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return -sum(scores[i - 1, ids[i]].item() for i in range(start, len(ids))) / (len(ids) - start)


def test_both_are_what_the_model_says(tiny_model_dir: Path) -> None:
    section = ModelSection(name=str(tiny_model_dir))
    model, renderer = open_model(section), Renderer(open_tokenizer(section))
    row = candidate("What is the capital of France?", "Paris is the capital of France.")
    prompt = renderer.prompt(row.example.messages[:1])
    answer = [*renderer.completion((), row.answer), renderer.stop_id]
    asked = by_hand(model, [*prompt, *answer], len(prompt))
    before = renderer.plain("")
    alone = by_hand(model, [*before, *answer], len(before))

    judge = build(model=str(tiny_model_dir), max_perplexity=1e-3)
    judge.prepare([row, candidate("Red?", "Green.", 2)])  # type: ignore[attr-defined]
    said = judge(row)
    assert said is not None and said.startswith("perplexity: ")
    assert float(said.split()[1]) == pytest.approx(math.exp(asked), rel=5e-3)
    told = build(model=str(tiny_model_dir), max_ifd=1e-3)(row)
    assert told is not None and float(told.split()[1]) == pytest.approx(asked / alone, rel=5e-3)


def test_limits_hold_on_both_sides(tiny_model_dir: Path) -> None:
    row = candidate("What?", "Paris is the capital of France.")
    name = str(tiny_model_dir)
    assert build(model=name, min_ifd=1e-3, max_ifd=1e3, max_perplexity=1e6)(row) is None
    assert "below" in str(build(model=name, min_ifd=100)(row))
    assert "above" in str(build(model=name, max_perplexity=2)(row))


def test_rows_without_an_answer_are_not_measured(tiny_model_dir: Path) -> None:
    assert build(model=str(tiny_model_dir), max_ifd=1e-9)(candidate("What?", " ")) is None


def test_mistakes_are_told() -> None:
    with pytest.raises(DataError, match="give one of min_perplexity, max_perplexity, min_ifd"):
        build()
    with pytest.raises(DataError, match="max_ifd is 0"):
        build(max_ifd=0)
