"""Memory that runs out: told from other errors, let go of, and met with smaller batches."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from luthier import generate, scoring
from luthier import model as models
from luthier import out_of_memory as memory
from luthier.chat import Renderer
from luthier.errors import LuthierError
from luthier.evaluation.config import GenerationSection
from luthier.example import Message
from luthier.out_of_memory import BatchSize
from luthier.recipe import ModelSection

TOO_MUCH = 2**56
"""Elements of a tensor that no machine has room for: the allocator says so."""


def allocators_error() -> RuntimeError:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(TOO_MUCH)
    return caught.value


def test_what_running_out_of_memory_looks_like() -> None:
    ours = [allocators_error(), MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried")]
    others = [RuntimeError("expected scalar type Float"), ValueError("out of memory"), OSError()]

    assert all(memory.happened(error) for error in ours)
    assert not any(memory.happened(error) for error in others)


def test_the_reason_is_a_few_words() -> None:
    said = "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 15 GiB"

    assert memory.reason(allocators_error()) == f"no room for {TOO_MUCH * 4 / 1e12:.1f} TB more"
    assert memory.reason(torch.OutOfMemoryError(said)) == "no room for 2.50 GiB more"
    assert memory.reason(MemoryError("one line\nand another")) == "one line"
    assert memory.reason(MemoryError()) == "an allocation failed"


def test_batches_that_do_not_fit_are_run_in_halves() -> None:
    told: list[int] = []
    asked: list[int] = []
    size = BatchSize(8, told.append)

    def compute(rows: Sequence[int]) -> int:
        asked.append(len(rows))
        torch.empty(TOO_MUCH if len(rows) > 3 else 0)
        return sum(rows)

    found = list(size.run(range(10), compute))

    assert [list(rows) for rows, _ in found] == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    assert [total for _, total in found] == [1, 5, 9, 13, 17]
    assert (asked, told, size.rows) == ([8, 4, 2, 2, 2, 2, 2], [4, 2], 2)


def test_a_row_that_does_not_fit_is_said_plainly() -> None:
    size = BatchSize(2, lambda rows: None)

    with pytest.raises(LuthierError, match=r"not even one row .* \(no room for .* more\)"):
        list(size.run([1, 2], lambda rows: torch.empty(TOO_MUCH)))


def test_other_errors_pass() -> None:
    with pytest.raises(ZeroDivisionError):
        list(BatchSize(2).run([1, 2], lambda rows: 1 // 0))


def test_nothing_holds_what_an_abandoned_batch_made() -> None:
    made: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    def compute(rows: Sequence[int]) -> int:
        alive.append(sum(ref() is not None for ref in made))
        block = torch.ones(1000)
        made.append(weakref.ref(block))
        torch.empty(TOO_MUCH if len(rows) > 1 else 0)
        return len(rows)

    list(BatchSize(4, lambda rows: None).run(range(4), compute))

    assert alive == [0] * 6


@pytest.fixture
def opened(tiny_model_dir: Path) -> tuple[Any, Renderer]:
    section = ModelSection(name=str(tiny_model_dir))
    return models.open_model(section), Renderer(models.open_tokenizer(section))


PROMPTS = [(Message("user", f"Is sentence {i} about a promise, or {'so ' * i}not?"),)
           for i in range(9)]  # fmt: skip


def cramped(function: Callable[..., Any]) -> Callable[..., Any]:
    """A forward pass that has room for three rows."""

    def forward(*args: Any, **kwargs: Any) -> Any:
        torch.empty(TOO_MUCH if len(kwargs["input_ids"]) > 3 else 0)
        return function(*args, **kwargs)

    return forward


def test_scores_do_not_depend_on_what_fits(
    opened: tuple[Any, Renderer], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, renderer = opened
    labels = ["True", "False"]
    told: list[int] = []
    scores = scoring.label_scores(model, renderer, PROMPTS, labels, 8)

    monkeypatch.setattr(model, "forward", cramped(model.forward))
    fewer = scoring.label_scores(model, renderer, PROMPTS, labels, 8, smaller=told.append)

    assert told == [4, 2]
    np.testing.assert_allclose(fewer, scores, rtol=1e-4)


def test_answers_do_not_depend_on_what_fits(
    opened: tuple[Any, Renderer], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    model, renderer = opened
    ids = [renderer.prompt(prompt) for prompt in PROMPTS]
    section = GenerationSection(max_new_tokens=4, do_sample=False)
    answers = generate.answer(model, renderer, ids, section, 0, batch_size=8)

    monkeypatch.setattr(model, "forward", cramped(model.forward))

    assert generate.answer(model, renderer, ids, section, 0, batch_size=8) == answers
    assert "from here on 2 rows at a time" in capsys.readouterr().err
