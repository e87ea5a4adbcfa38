"""The wrong predictions of the tuned model, from predictions.csv."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from luthier.errors import RunError

MAX_ROWS = 300
"""Wrong predictions shown; the file has all of them."""
MAX_CHARACTERS = 600
"""Of one text; what is left out is counted beside it."""

_COLUMNS = ("origin", "input", "gold", "predicted", "confidence")


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


def read_mistakes(path: Path) -> Mistakes:
    """Read the rows of a classification whose prediction is not the gold label.

    Raises:
        RunError: the file is missing, or one of its columns is.
    """
    if not path.is_file():
        raise RunError(f"{path} is missing. Repeat `luthier evaluate`.")
    csv.field_size_limit(sys.maxsize)
    with open(path, encoding="utf-8", errors="replace", newline="") as file:
        reader = csv.DictReader(file)
        columns = list(reader.fieldnames or [])
        missing = [name for name in _COLUMNS if name not in columns]
        if missing:
            raise RunError(
                f"{path}: no column {', '.join(missing)}; found {', '.join(columns) or 'none'}. "
                "Repeat `luthier evaluate`."
            )
        rows, wrong = 0, []
        for row in reader:
            rows += 1
            if row["gold"] != row["predicted"]:
                wrong.append(_mistake(row))
    wrong.sort(key=lambda m: -1.0 if m.confidence is None else m.confidence, reverse=True)
    return Mistakes(wrong[:MAX_ROWS], len(wrong), rows)


def _mistake(row: Mapping[str, str | None]) -> Mistake:
    try:
        confidence: float | None = float(row["confidence"] or "")
    except ValueError:
        confidence = None
    text, gold, predicted = (row[name] or "" for name in ("input", "gold", "predicted"))
    return Mistake(text, gold, predicted, confidence, row["origin"] or "")
