"""Self-Instruct: tasks with an instruction and a list of instances (input and output)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from luthier.data.config import SourceConfig
from luthier.data.formats.alpaca import instruct
from luthier.data.importing.conversation import Unfit, attempt
from luthier.data.importing.instructions import (
    ANSWERS,
    NO_ANSWER,
    exchange,
    lacking,
    require_choice,
    text_of,
)
from luthier.data.importing.sample import Sample
from luthier.data.rows import Reject, Row, Table, kind_of

EXAMPLE: dict[str, Any] = {
    "id": "seed_task_0", "name": "colours", "instruction": "Name the colour.",
    "instances": [{"input": "grass", "output": "Green."}], "is_classification": False,
}  # fmt: skip
"""A record of this format."""
OFTEN_UNANSWERED = True
"""Its files are questions as often as not; a conversion keeps them."""


def rows(
    table: Table, source: SourceConfig, *, answers: str = "required"
) -> Iterator[Row | Reject]:
    """One row for each instance of a task.

    Its fields are those of the task (id, name, is_classification, ...), those of the instance, and
    `instance`, its number; a key of both is `instance_KEY` for the instance. Tasks without
    instances ask, but nobody answers.

    Args:
        table: the opened file.
        source: what the recipe says of it.
        answers: `required` rejects rows without an output; `optional` keeps them without an answer.
    """
    require_choice("self_instruct", "answers", answers, ANSWERS)
    for row in table.records:
        if isinstance(row, Reject):
            yield row
            continue
        try:
            instances = instances_of(row, "instances")
        except Unfit as error:
            yield Reject(row.origin, str(error), row.fields)
            continue
        if not instances:
            yield attempt(row, lambda r: _bare(r, answers))
        for number, instance in enumerate(instances, 1):
            if not isinstance(instance, dict):
                yield no_object(row, number, "instances", instance)
                continue
            fields = {k: v for k, v in row.fields.items() if k != "instances"}
            for key, value in instance.items():
                fields[f"instance_{key}" if key in fields else key] = value
            fields["instance"] = number
            yield attempt(replace(row, fields=fields), lambda r: instruct(r, answers))


def instances_of(row: Row, name: str) -> list[Any]:
    """The items of a list in a row; an empty list where it is null.

    Raises:
        Unfit: it is not there, or something else.
    """
    if name not in row.fields:
        raise lacking(name, row.fields)
    found = row.fields[name]
    if found is None:
        return []
    if not isinstance(found, list):
        raise Unfit(f"wrong type: '{name}' holds {kind_of(found)}, expected a list of objects")
    return found


def no_object(row: Row, number: int, name: str, item: Any) -> Reject:
    """The reject for an item of a list that is no object."""
    reason = f"wrong type: item {number} of '{name}' is {kind_of(item)}, expected an object"
    return Reject(row.origin, reason, {name: item})


def _bare(row: Row, answers: str) -> Row:
    if answers != "optional":
        raise Unfit(NO_ANSWER)
    asked = text_of(row.fields, ("instruction",)) or ""
    return exchange(row, {**row.fields, "input": ""}, asked, None, answers)


def fits(sample: Sample) -> float:
    """How sure it is that a file is of this format."""
    return 0.98 * sample.share(_is_task)


def _is_task(record: Any) -> bool:
    instances = record.get("instances")
    if not isinstance(record.get("instruction"), str) or not isinstance(instances, list):
        return False
    first = instances[0] if instances else {"output": ""}
    return isinstance(first, dict) and "output" in first and "instruction_with_input" not in first
