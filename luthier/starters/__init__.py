"""`luthier new`: recipes to start from, one YAML file each in this folder.

A starter holds `{name}`, `{file}`, `{path}`, `{input}`, `{output}` and `{labels}` in the places
that differ between users.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from pathlib import Path

from ruamel.yaml import YAML

from luthier.console import say
from luthier.errors import DataError, LuthierError, unknown
from luthier.recipe import MAX_NAME, NAME_PATTERN

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
        LuthierError: no such starter, an unusable name, an option the starter has no place for,
            or a file that exists already or cannot be written.
        DataError: `data` cannot be read, or its columns cannot be told apart.
    """
    if kind not in names():
        raise LuthierError(unknown("starter", kind, names()))
    if not re.fullmatch(NAME_PATTERN, name) or len(name) > MAX_NAME:
        raise LuthierError(
            f"'{name}' cannot name a run: use letters, digits, '.', '_' and '-', a letter or digit "
            f"first, at most {MAX_NAME} of them."
        )
    path = Path(f"{name}.yaml")
    if path.exists():
        raise LuthierError(f"{path} exists already; delete it or choose another name.")
    from luthier.data.files.sources import open_file

    text = (FOLDER / f"{kind}.yaml").read_text(encoding="utf-8")
    asked = {"--data": data, "--input": input_column, "--output": output_column}
    for option, place in (("--data", "{path}"), ("--input", "{input}"), ("--output", "{output}")):
        if asked[option] is not None and place not in text:
            raise LuthierError(f"the starter '{kind}' has no place for {option}.")
    values = {"path": "rows.csv", "input": input_column or "text",
              "output": output_column or "label"}  # fmt: skip
    labels = ["label one", "label two"]
    if data is not None:
        values["path"] = os.path.relpath(data, path.parent)
        if "{input}" in text:
            labels = _read(data, kind, values, input_column, output_column)
        else:
            open_file(data)
    if values["input"] == values["output"]:
        raise DataError(
            f"input and output are both the column '{values['input']}': the answer would stand in "
            "the question. Name two columns with --input and --output."
        )
    filled = {key: _quoted(value) for key, value in values.items()}
    is_text = isinstance(YAML(typ="safe", pure=True).load(name), str)  # `2024` and `true` are not
    filled |= {"name": name if is_text else _quoted(name), "file": str(path)}
    filled["labels"] = f"[{', '.join(map(_quoted, labels))}]"
    text = re.sub(r"\{(\w+)\}", lambda m: filled.get(m.group(1), m.group()), text)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LuthierError(f"{path} cannot be written: {error.strerror}.") from None
    say(f"wrote {path}\nnext: luthier plan {path}    then: luthier run {path}")
    return path


def _read(
    data: Path,
    kind: str,
    values: dict[str, str],
    input_column: str | None,
    output_column: str | None,
) -> list[str]:
    """Find the columns of a data file, set them in `values`, and return its labels."""
    from luthier.data.files.sources import open_file
    from luthier.data.rows import Row
    from luthier.data.templating.template import as_text

    table = open_file(data, wanted=[c for c in (input_column, output_column) if c])
    rows = (row.fields for row in table.records if isinstance(row, Row))
    first = next(rows, None)
    if first is None:
        raise DataError(f"{data}: no rows.")
    columns = table.columns or list(first)
    values["input"] = _column(columns, input_column, _USUAL_INPUTS, data, "--input")
    values["output"] = _column(columns, output_column, _USUAL_OUTPUTS, data, "--output")
    if kind != "classification":
        return []
    labels: set[str] = set()
    for fields in itertools.chain([first], rows):
        label = as_text(fields.get(values["output"]))
        labels |= {label} if label.strip() else set()
        if len(labels) > MAX_LABELS:
            break
    if not 2 <= len(labels) <= MAX_LABELS:
        found = str(len(labels)) if len(labels) <= MAX_LABELS else f"more than {MAX_LABELS}"
        raise DataError(
            f"{data}: column '{values['output']}' has {found} distinct values, expected 2 to "
            f"{MAX_LABELS} labels. Choose the label column with --output, or start from "
            "generation."
        )
    return sorted(labels)


def _quoted(text: str) -> str:
    """Text as a double-quoted YAML string; what YAML does not allow to stand there is escaped."""
    escaped = json.dumps(text, ensure_ascii=False)
    return "".join(
        c if c.isprintable() else f"\\U{ord(c):08x}" if ord(c) > 0xFFFF else f"\\u{ord(c):04x}"
        for c in escaped
    )


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
