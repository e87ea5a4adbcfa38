"""The wrong predictions of the tuned model, from predictions.csv."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from luthier.errors import RunError

MAX_ROWS = 300
"""Wrong predictions shown; the file has all of them."""
MAX_CHARACTERS = 600
"""Of one text; what is left out is counted beside it."""

_TEXT = ("sentence", "input", "text", "prompt", "question")
_GOLD = ("gold", "label", "expected", "output", "reference")
_PREDICTED = ("predicted", "prediction", "answer", "guess")
_CONFIDENCE = ("confidence", "probability", "score")
_ORIGIN = ("origin", "source", "id")


@dataclass(frozen=True)
class Mistake:
    """One test row that the tuned model got wrong."""

    text: str
    gold: str
    predicted: str
    confidence: float | None
    """Calibrated probability of the predicted label."""
    origin: str


@dataclass(frozen=True)
class Mistakes:
    """The wrong predictions, most confident first."""

    shown: list[Mistake]
    wrong: int
    rows: int
    """Test rows in the file."""


def read_mistakes(path: Path) -> Mistakes | None:
    """Read the rows whose prediction is not the gold answer; None without such a file.

    Raises:
        RunError: the file has no column for the gold or for the predicted answer.
    """
    if not path.is_file():
        return None
    csv.field_size_limit(sys.maxsize)
    with open(path, encoding="utf-8", errors="replace", newline="") as file:
        reader = csv.DictReader(file)
        columns = list(reader.fieldnames or [])
        gold, predicted = _column(columns, _GOLD), _column(columns, _PREDICTED)
        if gold is None or predicted is None:
            raise RunError(
                f"{path}: expected the columns 'gold' and 'predicted', found "
                f"{', '.join(columns) or 'none'}. Repeat `luthier evaluate`."
            )
        rows, wrong = 0, []
        for row in reader:
            rows += 1
            if row[gold] != row[predicted]:
                wrong.append(_mistake(row, columns, gold, predicted))
    wrong.sort(key=lambda m: -1.0 if m.confidence is None else m.confidence, reverse=True)
    return Mistakes(wrong[:MAX_ROWS], len(wrong), rows)


def _mistake(
    row: Mapping[str, str | None], columns: list[str], gold: str, predicted: str
) -> Mistake:
    def cell(names: Iterable[str]) -> str:
        column = _column(columns, names)
        return (row[column] or "") if column else ""

    try:
        confidence: float | None = float(cell(_CONFIDENCE))
    except ValueError:
        confidence = None
    origin = cell(_ORIGIN)
    if "row" in columns and row["row"] and "source" in columns:
        origin = f"{row['source']}:{row['row']}"
    return Mistake(cell(_TEXT), row[gold] or "", row[predicted] or "", confidence, origin)


def _column(columns: list[str], names: Iterable[str]) -> str | None:
    return next((name for name in names if name in columns), None)
