"""Evol-Instruct (WizardLM): instructions with outputs, conversations, or test questions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from luthier.data.config import SourceConfig
from luthier.data.formats import alpaca, sharegpt
from luthier.data.importing.instructions import (
    ANSWERS,
    each,
    exchange,
    named,
    require_choice,
    text_of,
)
from luthier.data.importing.sample import Sample
from luthier.data.importing.side_columns import CROWDED, said_of, unread
from luthier.data.rows import Reject, Row, Table

EXAMPLE: dict[str, Any] = {"instruction": "Name a colour, and say why.", "output": "Green: calm."}
"""A record of this format."""
ALSO_READS = ("alpaca", "sharegpt")
"""Formats in whose records its sets are published, too."""
_READ = (
    *alpaca.INSTRUCTION, *alpaca.INPUT, *alpaca.OUTPUT, *sharegpt.NAMES, "system", "history",
    "Skill", "Difficulty",
)  # fmt: skip
OFTEN_UNANSWERED = True
"""Its files are questions as often as not; a conversion keeps them."""


def rows(
    table: Table, source: SourceConfig, *, answers: str = "required"
) -> Iterator[Row | Reject]:
    """Rows of any of the forms in which Evol-Instruct's sets circulate.

    {instruction, output} (the 70,000), {conversations} (the 196,000 of V2), {input, output}, and
    {idx, Skill, Difficulty, Instruction} (the test set, which has no answers).

    Args:
        table: the opened file.
        source: what the recipe says of it.
        answers: `required` rejects rows without an output; `optional` keeps them without an answer.
    """
    require_choice("evol_instruct", "answers", answers, ANSWERS)
    return each(table, lambda row: _row(row, answers))


def _row(row: Row, answers: str) -> Row:
    if named(row.fields, sharegpt.NAMES) is not None:
        return sharegpt.talk(row)
    if named(row.fields, alpaca.INSTRUCTION) is not None or "input" not in row.fields:
        return alpaca.instruct(row, answers)
    asked = text_of(row.fields, ("input",)) or ""
    answer = text_of(row.fields, alpaca.OUTPUT)
    plain: dict[str, Any] = {"instruction": asked, "input": ""}
    if answer is not None:
        plain["output"] = answer
    return exchange(row, {**row.fields, **plain}, asked, answer, answers)


def fits(sample: Sample) -> float:
    """How sure it is that a file is of this format."""
    sure = _fits(sample)
    return min(sure, CROWDED) if sure and unread(sample, _READ) else sure


def doubt(sample: Sample) -> str:
    """What speaks against it, to be told after the columns; empty: nothing."""
    return said_of(unread(sample, _READ), "evol_instruct")


def _fits(sample: Sample) -> float:
    asks = sample.has("Instruction")
    if asks > 0.5 and sample.has("Skill", "Difficulty") > 0.5:
        return 0.97 * asks
    if asks > 0.5 and not sample.share(lambda r: named(r, alpaca.OUTPUT) is not None):
        return 0.9 * asks
    bare = sample.share(lambda r: set(r) == {"instruction", "output"})
    return 0.6 * bare
