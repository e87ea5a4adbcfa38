"""Seed rows: the few solved examples of a task that a model is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.data.files.mapping import mapped
from luthier.data.files.sources import open_file
from luthier.data.rows import Reject
from luthier.errors import DataError, unknown
from luthier.example import content_id


@dataclass(frozen=True, slots=True)
class Seed:
    """A solved example."""

    id: str
    input: str
    output: str
    category: str | None
    """The kind of row, where the file says."""
    levels: tuple[tuple[str, str], ...] = ()
    """(axis, level) for each axis that the file has a column of."""


def read_seeds(
    path: Path,
    *,
    input: str = "input",
    output: str = "output",
    category: str = "category",
    axes: Sequence[str] = (),
    labels: Sequence[str] = (),
) -> list[Seed]:
    """Read seed rows; every row that is no good is told at once.

    Args:
        path: a CSV, TSV, JSON, JSONL or Parquet file.
        input: its input column.
        output: its output or label column.
        category: its column with the kind of row, which need not be there.
        axes: columns with levels of axes, which need not be there either.
        labels: the closed label set; empty for free text.

    Raises:
        DataError: a missing file or column, a label outside the set, an empty text, no rows.
    """
    seeds: list[Seed] = []
    wrong: list[str] = []
    for row in mapped(open_file(path), {"input": input, "output": output}):
        if isinstance(row, Reject):
            wrong.append(f"{row.origin}: {row.reason}")
            continue
        given, answer = _text(row.fields["input"]), _text(row.fields["output"])
        if not given or not answer:
            wrong.append(f"{row.origin}: the {'input' if not given else 'output'} is empty")
        elif labels and answer not in labels:
            wrong.append(f"{row.origin}: {unknown('label', answer, labels)}")
        else:
            kind = _text(row.fields.get(category)) or None
            levels = tuple((a, v) for a in axes if (v := _text(row.fields.get(a))))
            seeds.append(Seed(content_id([given, answer]), given, answer, kind, levels))
    if wrong:
        shown = "\n".join(f"  {line}" for line in wrong[:20])
        more = f"\n  and {len(wrong) - 20} more" if len(wrong) > 20 else ""
        raise DataError(f"{len(wrong)} seed rows cannot be used:\n{shown}{more}")
    if not seeds:
        raise DataError(f"{path}: there are no seed rows in it.")
    return list({seed.id: seed for seed in seeds}.values())


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()
