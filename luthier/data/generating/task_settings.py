"""How rows for one task are written, and whether what a recipe says of it makes sense."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.data.generating.options import SAMPLING, problems, require_none


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How rows for one task are written; see `generators/task.py: build`."""

    description: str
    seeds: Path
    input: str
    output: str
    rows: int | Mapping[str, int] | None
    categories: Sequence[Mapping[str, Any]]
    output_first: float
    axes: Mapping[str, Sequence[str]]
    hard_negatives: float
    votes: int
    votes_lora: str | None
    shots: int
    novelty: float
    avoid: Sequence[str]
    min_words: int
    max_words: int
    max_tokens: int
    temperature: float
    top_p: float
    one_line: bool
    patience: int
    min_yield: float


def checked(**given: Any) -> Settings:
    """Settings out of the options of a recipe.

    Raises:
        DataError: every option that makes no sense.
    """
    found = [
        *problems(given, counts=_COUNTS, numbers=_NUMBERS, switches=("one_line",)),
        *_of_words(given),
        *_of_rows(given["rows"]),
        *_of_axes(given["axes"]),
    ]
    least, most = given["min_words"], given["max_words"]
    if not found and least > most:
        found.append(f"min_words is {least}, above max_words ({most}): no input is both.")
    require_none("task", found)
    avoid = given["avoid"]
    return Settings(**{
        **given,
        "description": given["description"].strip(),
        "seeds": Path(given["seeds"]),
        "categories": given["categories"] or [],
        "axes": {
            str(axis): [str(level) for level in levels]
            for axis, levels in (given["axes"] or {}).items()
        },
        "avoid": [avoid] if isinstance(avoid, str) else list(avoid or []),
    })  # fmt: skip


_COUNTS = {
    "votes": 0, "shots": 0, "min_words": 0, "max_words": 1, "max_tokens": 1, "patience": 1,
}  # fmt: skip
_NUMBERS = {
    **SAMPLING, "output_first": (0.0, 1.0), "hard_negatives": (0.0, 1.0), "novelty": (0.0, 1.0),
    "min_yield": (0.0, 1.0),
}  # fmt: skip


def _of_words(given: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the options that are words, or lists of them."""
    description = given["description"]
    if not isinstance(description, str):
        yield f"description is {description!r}, expected text."
    elif not description.strip():
        yield "description is empty; the model knows the task by it."
    for name, what in (("seeds", "a file"), ("input", "a column"), ("output", "a column")):
        if not isinstance(given[name], str):
            yield f"{name} is {given[name]!r}, expected {what}."
    if not isinstance(given["votes_lora"], str | None):
        yield f"votes_lora is {given['votes_lora']!r}, expected the name of an adapter."
    avoid = given["avoid"]
    if not isinstance(avoid, str | None) and not (
        isinstance(avoid, (list, tuple)) and all(isinstance(one, str) for one in avoid)
    ):
        yield f"avoid is {avoid!r}, expected a file or a list of files."
    categories = given["categories"]
    if not isinstance(categories, list | tuple | None):
        yield f"categories is {categories!r}, expected a list of {{name, label, about, rows}}."


def _of_rows(rows: Any) -> Iterator[str]:
    if isinstance(rows, Mapping):
        yield from problems(rows, counts=dict.fromkeys(rows, 0), numbers={}, prefix="rows.")
    elif rows is not None:
        yield from problems({"rows": rows}, counts={"rows": 1}, numbers={})


def _of_axes(axes: Any) -> Iterator[str]:
    if axes is None:
        return
    if not isinstance(axes, Mapping):
        yield f"axes is {axes!r}, expected a list of levels for each axis: {{tone: [calm, loud]}}."
        return
    for axis, levels in axes.items():
        if not isinstance(levels, (list, tuple)) or not levels:
            yield f"axes.{axis} is {levels!r}, expected a list of levels."
        elif any(level is None or isinstance(level, (list, dict)) for level in levels):
            yield f"axes.{axis} is {levels!r}, expected levels that are words."
        elif len(set(map(str, levels))) < len(levels):
            yield f"axes.{axis} is {levels!r}, which names a level twice."
