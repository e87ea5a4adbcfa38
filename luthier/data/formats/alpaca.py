"""Alpaca: instruction, input and output (or response), with system and earlier turns (history)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

from luthier.data.config import SourceConfig
from luthier.data.importing import outgoing
from luthier.data.importing.conversation import ANY, Unfit, checked, messages_of
from luthier.data.importing.instructions import (
    ANSWERS,
    SYSTEM,
    each,
    exchange,
    joined,
    lacking,
    named,
    require_choice,
    text_of,
    with_system,
)
from luthier.data.importing.sample import Sample
from luthier.data.importing.side_columns import unread
from luthier.data.rows import Reject, Row, Table, kind_of
from luthier.example import Message

INSTRUCTION = ("instruction", "Instruction")
INPUT = ("input", "context", "Input", "Context")
OUTPUT = (
    "output", "response", "completion", "answer", "Output", "Response", "Completion", "Answer",
)  # fmt: skip
_READ = (*INSTRUCTION, *INPUT, *OUTPUT, *SYSTEM, "history")
EXAMPLE: dict[str, Any] = {"instruction": "Name the colour.", "input": "grass", "output": "Green."}
"""A record of this format."""


def rows(
    table: Table, source: SourceConfig, *, answers: str = "required"
) -> Iterator[Row | Reject]:
    """Rows whose question is the instruction and, under it, the input.

    `history` is a list of pairs (question, answer) that came before, or of {role, content},
    `system` (or `system_prompt`) a system message, as LLaMA-Factory reads them. GPTeacher calls
    the output `response`, Dolly the input `context`.

    Args:
        table: the opened file.
        source: what the recipe says of it.
        answers: `required` rejects rows without an output; `optional` keeps them without an answer.
    """
    require_choice("alpaca", "answers", answers, ANSWERS)
    return each(table, lambda row: instruct(row, answers))


def instruct(row: Row, answers: str = "required") -> Row:
    """One record as a row.

    Raises:
        Unfit: it is none of this format, asks nothing, or has no answer.
    """
    fields = row.fields
    if named(fields, INSTRUCTION) is None:
        raise lacking("instruction", fields)
    instruction = text_of(fields, INSTRUCTION) or ""
    given = text_of(fields, INPUT)
    answer = text_of(fields, OUTPUT)
    plain: dict[str, Any] = {"instruction": instruction, "input": given or ""}
    if answer is not None:
        plain["output"] = answer
    asked = [*_earlier(fields), Message("user", joined(instruction, given))]
    asked = list(with_system(asked, fields))
    return exchange(row, {**fields, **plain}, asked, answer, answers)


def _earlier(fields: Mapping[str, Any]) -> list[Message]:
    history = fields.get("history")
    if history in (None, "", []):
        return []
    if isinstance(history, list) and isinstance(history[0], dict):
        turns = messages_of(history, ANY)
        checked(list(enumerate(turns, 1)), alternating=True)
        return turns
    if not isinstance(history, list):
        raise Unfit(f"wrong type: 'history' holds {kind_of(history)}, expected a list of pairs")
    turns = []
    for number, pair in enumerate(history, 1):
        texts = list(pair) if isinstance(pair, (list, tuple)) else []
        if len(texts) != 2 or not all(isinstance(t, str) for t in texts):
            raise Unfit(
                f"wrong type: pair {number} of 'history' is no pair of texts, question and answer"
            )
        turns += [Message("user", texts[0]), Message("assistant", texts[1])]
    checked(list(enumerate(turns, 1)), alternating=True)
    return turns


def fits(sample: Sample) -> float:
    """How sure it is that a file is of this format."""
    if sample.has("chosen", "rejected") > 0.5:
        return 0.0
    asks = sample.share(
        lambda r: any(isinstance(r.get(name), str) for name in INSTRUCTION) and "instances" not in r
    )
    # A number may be the place of the answer in a list of choices.
    kinds = str if unread(sample, _READ) else (str, int, float)
    answers = sample.share(lambda r: isinstance(r.get(str(named(r, OUTPUT))), kinds))
    if answers < 0.5:
        return 0.0
    told = sample.share(lambda r: "history" in r or named(r, INPUT) is not None)
    return asks * (0.98 if told > 0.5 else 0.95)


def write(rows: Iterable[Row], file: IO[str]) -> Iterator[Reject]:
    """Write rows as a JSON list; yields those that it cannot hold."""
    return outgoing.write_list(rows, file, _record)


def _record(row: Row) -> dict[str, Any]:
    system, turns = outgoing.plain_turns(row, "alpaca", answered=False)
    *pairs, last = turns
    asked, answer = last
    instruction, given = outgoing.parts(row, asked)
    record: dict[str, Any] = {"instruction": instruction, "input": given, "output": answer}
    if system:
        record["system"] = system
    if pairs:
        record["history"] = [list(pair) for pair in pairs]
    return outgoing.with_others(record, row, reserved=(*SYSTEM, "history"))
