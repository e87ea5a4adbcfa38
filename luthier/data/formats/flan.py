"""FLAN: rendered inputs and targets, with the task and the template they come from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO, Any

from luthier.data.config import SourceConfig
from luthier.data.importing import outgoing
from luthier.data.importing.instructions import (
    ANSWERS,
    SYSTEM,
    each,
    exchange,
    lacking,
    over,
    require_choice,
    text_of,
)
from luthier.data.importing.sample import Sample, has_system
from luthier.data.rows import Reject, Row, Table

_TASK = ("_task_source", "_task_name", "task_source", "task_name")
EXAMPLE: dict[str, Any] = {"inputs": "Is grass green?", "targets": "Yes.", "_task_name": "colours"}
"""A record of this format."""


def rows(
    table: Table, source: SourceConfig, *, answers: str = "required"
) -> Iterator[Row | Reject]:
    """Rows as they were rendered; the text is not touched.

    Where `inputs` and `targets` hold token ids, as in dumps of seqio, the texts are those of
    `inputs_pretokenized` and `targets_pretokenized`. `_task_source`, `_template_type` and the like
    stay in `fields`; an `input` or `output` of the file's own becomes `input_column` or
    `output_column`.

    Args:
        table: the opened file.
        source: what the recipe says of it.
        answers: `required` rejects rows without targets; `optional` keeps them without an answer.
    """
    require_choice("flan", "answers", answers, ANSWERS)
    return each(table, lambda row: _row(row, answers))


def _row(row: Row, answers: str) -> Row:
    asked = text_of(row.fields, _column(row, "inputs"))
    if asked is None:
        raise lacking("inputs", row.fields)
    answer = text_of(row.fields, _column(row, "targets"))
    plain: dict[str, Any] = {"input": asked}
    if answer is not None:
        plain["output"] = answer
    return exchange(row, over(row.fields, plain), asked, answer, answers)


def _column(row: Row, name: str) -> tuple[str, ...]:
    if f"{name}_pretokenized" in row.fields and not isinstance(row.fields.get(name), str):
        return (f"{name}_pretokenized",)
    return (name,)


def fits(sample: Sample) -> float:
    """How sure it is that a file is of this format."""
    texts = sample.share(
        lambda r: isinstance(r.get("inputs"), str) and isinstance(r.get("targets"), str)
    )
    if sample.has("definition") > 0.5 or sample.has("answer_choices") > 0.5:
        return 0.8 * texts
    if has_system(sample):
        return 0.6 * texts  # which it would leave unread
    tokens = sample.has("inputs_pretokenized", "targets_pretokenized")
    tasks = sample.share(lambda r: any(name in r for name in _TASK))
    return max(0.97 * texts, (0.99 if tasks > 0.5 else 0.6) * tokens)


def write(rows: Iterable[Row], file: IO[str]) -> Iterator[Reject]:
    """Write rows as JSON lines; yields those that it cannot hold."""
    return outgoing.write_lines(rows, file, _record)


def _record(row: Row) -> dict[str, Any]:
    asked, answer = outgoing.single_turn(row, "flan")
    record = {"inputs": asked, "targets": answer}
    return outgoing.with_others(record, row, reserved=("question", *SYSTEM))
