"""Unnatural Instructions: instances with constraints, and reformulations of their instruction."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from luthier.data.config import SourceConfig
from luthier.data.formats.self_instruct import instances_of, no_object
from luthier.data.importing.conversation import Unfit, attempt
from luthier.data.importing.instructions import (
    ANSWERS,
    exchange,
    lacking,
    require_choice,
    require_switch,
    text_of,
)
from luthier.data.importing.sample import Sample
from luthier.data.rows import Reject, Row, Table

_PLACES = ("in_prompt", "drop")
_INPUT = "{INPUT}"
EXAMPLE: dict[str, Any] = {
    "instruction": "Name the colour.",
    "instances": [
        {"instruction_with_input": "Name the colour.\ngrass", "input": "grass",
         "constraints": "One word.", "output": "Green"}
    ],
}  # fmt: skip
"""A record of this format."""


def rows(
    table: Table,
    source: SourceConfig,
    *,
    constraints: str = "in_prompt",
    reformulations: bool = True,
    answers: str = "required",
) -> Iterator[Row | Reject]:
    """One row for each instance, and one for each reformulation (the full set, arXiv 2212.09689).

    The question is the file's own `instruction_with_input`, and under it the constraints of the
    output, where there are some: the answer was generated with them in view. Reformulations were
    made without them, and have none; the field `original_instruction` is what they reformulate.

    Args:
        table: the opened file.
        source: what the recipe says of it.
        constraints: `drop` leaves them out of the question; they stay a field.
        reformulations: off, they are passed over.
        answers: `required` rejects rows without an output; `optional` keeps them without an answer.
    """
    require_choice("unnatural_instructions", "constraints", constraints, _PLACES)
    require_switch("unnatural_instructions", "reformulations", reformulations)
    require_choice("unnatural_instructions", "answers", answers, ANSWERS)
    shown = constraints == "in_prompt"
    for row in table.records:
        if isinstance(row, Reject):
            yield row
            continue
        kept = {k: v for k, v in row.fields.items() if k not in ("instances", "reformulations")}
        try:
            found = [("instance", each) for each in instances_of(row, "instances")]
            if reformulations and row.fields.get("reformulations"):
                again = instances_of(row, "reformulations")
                found += [("reformulation", each) for each in again]
            if not found:
                raise Unfit("no instances: the list is empty")
        except Unfit as error:
            yield Reject(row.origin, str(error), row.fields)
            continue
        numbers = {"instance": 0, "reformulation": 0}
        for kind, each in found:
            numbers[kind] += 1
            if not isinstance(each, dict):
                yield no_object(row, numbers[kind], f"{kind}s", each)
                continue
            fields = {**kept, **each, kind: numbers[kind]}
            if "instruction" in each and "instruction" in kept:
                fields["original_instruction"] = kept["instruction"]
            yield attempt(replace(row, fields=fields), lambda r: _row(r, shown, answers))


def _row(row: Row, shown: bool, answers: str) -> Row:
    fields = row.fields
    instruction = text_of(fields, ("instruction",))
    if instruction is None:
        raise lacking("instruction", fields)
    given = text_of(fields, ("input",)) or ""
    asked = text_of(fields, ("instruction_with_input",))
    if not asked:
        asked = instruction.replace(_INPUT, given)
        if _INPUT not in instruction and given.strip():
            asked = f"{instruction}\n{given}"
    limits = (text_of(fields, ("constraints",)) or "").strip()
    if shown and limits.rstrip(".").casefold() not in ("", "none") and limits not in asked:
        asked = f"{asked}\n{limits}"
    answer = text_of(fields, ("output",))
    plain = {"instruction": instruction, "input": given}
    return exchange(row, {**fields, **plain}, asked, answer, answers)


def fits(sample: Sample) -> float:
    """How sure it is that a file is of this format."""
    return 0.99 * sample.share(_is_task)


def _is_task(record: Any) -> bool:
    listed = record.get("instances") or record.get("reformulations")
    first = listed[0] if isinstance(listed, list) and listed else None
    return isinstance(first, dict) and "instruction_with_input" in first and "output" in first
