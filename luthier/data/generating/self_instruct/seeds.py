"""Seed tasks: what people wrote, and what the model is shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from luthier.console import say
from luthier.data.rows import Reject
from luthier.errors import DataError


@dataclass(frozen=True, slots=True)
class Task:
    """An instruction of the pool."""

    id: str
    instruction: str
    is_classification: bool
    calls: tuple[Any, ...] = ()
    """The completions it was made of; none for seeds."""
    parents: tuple[str, ...] = ()
    """Ids of the tasks that were shown."""
    about: dict[str, Any] = field(default_factory=dict)
    """What is stored of it with each of its rows."""


def read_seeds(path: str) -> list[Task]:
    """The tasks of a file of any format that has instructions, each instruction once.

    Args:
        path: relative to the working directory, or `luthier:NAME`.

    Raises:
        DataError: the file is not there, or there is no instruction in it.
    """
    # It finds filters and formats, and so what imports them, by name.
    from luthier.data.linting.reading import of_file

    reading = of_file(path)
    source = reading.sources[0]
    found: dict[str, Task] = {}
    lost: list[Reject] = []
    for row, shaped in reading.shaped(reading.open(source), source):
        if isinstance(row, Reject) or isinstance(shaped, Reject):
            lost.append(row if isinstance(row, Reject) else shaped)  # type: ignore[arg-type]
            continue
        told = shaped.example.fields.get("instruction")
        instruction = (told if isinstance(told, str) else shaped.question).strip()
        if instruction and instruction not in found:
            name = str(row.fields.get("id") or f"seed_{len(found)}")
            kind = row.fields.get("is_classification") is True
            found[instruction] = Task(name, instruction, kind)
    if lost:
        few = "; ".join(f"{r.origin}: {r.reason}" for r in lost[:3])
        say(f"{path}: {len(lost)} of the rows are no seed tasks ({few})", style="yellow")
    if not found:
        raise DataError(
            f"seeds: {path}: no row has an instruction that could be shown. "
            f"`luthier lint {path}` says why."
        )
    return list(found.values())
