"""`luthier new`: recipes to start from, one YAML file each in this folder.

A starter holds `{name}`, `{path}`, `{input}`, `{output}` and `{labels}` in the places that differ
between users.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from luthier.console import say
from luthier.errors import DataError, LuthierError, unknown
from luthier.recipe import NAME_PATTERN

FOLDER = Path(__file__).parent
_USUAL_INPUTS = ("input", "text", "sentence", "question", "prompt", "instruction", "content")
_USUAL_OUTPUTS = ("output", "label", "category", "class", "answer", "completion", "response")
MAX_LABELS = 100
"""More distinct values than this are no label set."""


def names() -> list[str]:
    """Names of all starters."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def write_recipe(
    name: str,
    kind: str,
    *,
    data: Path | None = None,
    input_column: str | None = None,
    output_column: str | None = None,
) -> Path:
    """Write `NAME.yaml` into the working directory.

    Args:
        name: of the recipe, and of its run.
        kind: a starter.
        data: the user's rows; columns and labels are read from it.
        input_column: its input column; None: the one with a usual name.
        output_column: its output column; None: the one with a usual name.

    Raises:
        LuthierError: no such starter, an unusable name, or the file exists already.
        DataError: `data` cannot be read, or its columns cannot be told apart.
    """
    if kind not in names():
        raise LuthierError(unknown("starter", kind, names()))
    if not re.fullmatch(NAME_PATTERN, name):
        raise LuthierError(f"'{name}' cannot name a run: use letters, digits, '.', '_' and '-'.")
    path = Path(f"{name}.yaml")
    if path.exists():
        raise LuthierError(f"{path} exists already; delete it or choose another name.")
    values = {"name": name, "path": "rows.csv", "input": "text", "output": "label",
              "labels": '["label one", "label two"]'}  # fmt: skip
    if data is not None:
        values |= _from_data(path, data, kind, input_column, output_column)
    else:
        values |= {k: v for k, v in (("input", input_column), ("output", output_column)) if v}
    text = (FOLDER / f"{kind}.yaml").read_text(encoding="utf-8")
    for key, value in values.items():
        text = text.replace("{" + key + "}", value)
    path.write_text(text, encoding="utf-8")
    say(f"wrote {path}\nnext: luthier plan {path}    then: luthier run {path}")
    return path


def _from_data(
    recipe: Path, data: Path, kind: str, input_column: str | None, output_column: str | None
) -> Mapping[str, str]:
    from luthier.data.sources import open_file
    from luthier.data.rows import Row

    found: dict[str, str] = {"path": os.path.relpath(data, recipe.parent)}
    if kind not in ("classification", "generation"):
        return found
    table = open_file(data)
    rows = [row for row in table.records if isinstance(row, Row)]
    if not rows:
        raise DataError(f"{data}: no rows.")
    columns = table.columns or list(rows[0].fields)
    found["input"] = _column(columns, input_column, _USUAL_INPUTS, data, "--input")
    found["output"] = _column(columns, output_column, _USUAL_OUTPUTS, data, "--output")
    if kind == "classification":
        labels = sorted({str(row.fields.get(found["output"])) for row in rows})
        if not 2 <= len(labels) <= MAX_LABELS:
            raise DataError(
                f"{data}: column '{found['output']}' has {len(labels)} distinct values, expected "
                f"2 to {MAX_LABELS} labels. Choose the label column with --output, or start from "
                "generation."
            )
        found["labels"] = json.dumps(labels, ensure_ascii=False)
    return found


def _column(
    columns: list[str], asked: str | None, usual: tuple[str, ...], data: Path, option: str
) -> str:
    if asked is not None:
        if asked not in columns:
            raise DataError(f"{data}: {unknown('column', asked, columns)}")
        return asked
    folded = {column.strip().casefold(): column for column in columns}
    for name in usual:
        if name in folded:
            return folded[name]
    listed = ", ".join(columns)
    raise DataError(f"{data}: which column is it? Columns: {listed}. Say so with {option} NAME.")
