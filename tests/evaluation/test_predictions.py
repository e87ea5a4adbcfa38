"""predictions.csv: whatever a row or an answer holds is read back as it was."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from made_runs import classification_row, generation_row

from luthier.evaluation.outcome import Answers, Choices, Outcome
from luthier.evaluation.predictions import predictions_csv
from luthier.example import Example, Message
from luthier.reporting.mistakes import read_mistakes

HARD = [
    'He said: "We will, soon."',
    "two\nlines",
    "a lone\rreturn",
    "\rat the start, and at the end\r",
    "Windows\r\nlines",
    '"',
    ",",
    " spaces ",
    "a\ttab; a 'quote'",
    "Ünï ☃ \u2028 \u0085 \x0b",
    "=1+1",
    "-",
    "NA",
    "001",
]


def rows_about(texts: list[str]) -> list[Example]:
    made = [classification_row(i) for i in range(len(texts))]
    return [
        row.but(
            fields={**row.fields, "input": text, "style": text},
            messages=(Message("user", text), row.messages[-1]),
        )
        for row, text in zip(made, texts, strict=True)
    ]


def choices(count: int) -> Choices:
    gold = np.arange(count) % 2
    return Choices(["True", "False"], "True", gold, np.log([[0.7, 0.3]] * count))


def read_all(text: str, path: Path) -> list[list[dict[str, str]]]:
    """The table as the csv module and as pandas read it from a file: two readings."""
    import pandas

    path.write_bytes(text.encode())  # as the run folder writes it
    with open(path, encoding="utf-8", newline="") as file:
        plain = list(csv.DictReader(file))
    frame = pandas.read_csv(path, dtype=str, keep_default_na=False)
    return [plain, frame.to_dict("records")]


def test_texts_of_labelled_rows_come_back(tmp_path: Path) -> None:
    rows = rows_about(HARD)
    text = predictions_csv(rows, {"tuned": choices(len(HARD))}, slice_by="style")
    for found in read_all(text, tmp_path / "predictions.csv"):
        assert len(found) == len(HARD)
        assert [row["input"] for row in found] == HARD
        assert [row["style"] for row in found] == HARD
        assert [row["id"] for row in found] == [row.id for row in rows]
        assert {row["predicted"] for row in found} == {"True"}
    mistakes = read_mistakes(tmp_path / "predictions.csv")
    assert mistakes.rows == len(HARD)
    assert [m.text for m in mistakes.shown] == HARD[1::2]


def test_generated_answers_come_back(tmp_path: Path) -> None:
    count = len(HARD)
    rows = [generation_row(i) for i in range(count)]
    likely, tokens = np.zeros(count), np.ones(count, dtype=np.int64)
    outcomes: dict[str, Outcome] = {
        "tuned": Answers(HARD, HARD[::-1], likely, tokens),
        "zero_shot": Answers(HARD, HARD[1:] + HARD[:1], likely, tokens),
    }
    for found in read_all(predictions_csv(rows, outcomes), tmp_path / "predictions.csv"):
        assert len(found) == count
        assert [row["gold"] for row in found] == HARD
        assert [row["predicted"] for row in found] == HARD[::-1]
        assert [row["zero_shot"] for row in found] == HARD[1:] + HARD[:1]


@pytest.mark.parametrize("column", ["id", "origin", "input", "gold", "confidence", "majority"])
def test_a_slice_column_replaces_none_of_the_tables_own(column: str, tmp_path: Path) -> None:
    rows = [
        row.but(fields={**row.fields, column: f"mine {i}"})
        for i, row in enumerate(rows_about(["one", "two"]))
    ]
    outcomes: dict[str, Outcome] = {"tuned": choices(2), "majority": choices(2)}
    expected = read_all(predictions_csv(rows, outcomes), tmp_path / "plain.csv")[0]
    assert len(expected) == 2
    text = predictions_csv(rows, outcomes, slice_by=column)
    for found in read_all(text, tmp_path / "predictions.csv"):
        assert len(found) == 2
        assert [row.pop(f"{column}_column") for row in found] == ["mine 0", "mine 1"]
        assert found == expected


def test_a_slice_column_is_called_as_in_the_file(tmp_path: Path) -> None:
    rows = rows_about(["one", "two"])
    text = predictions_csv(rows, {"tuned": choices(2)}, slice_by="verdict", slice_field="output")
    for found in read_all(text, tmp_path / "predictions.csv"):
        assert [row["verdict"] for row in found] == [row.fields["output"] for row in rows]
