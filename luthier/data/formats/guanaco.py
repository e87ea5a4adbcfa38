"""Guanaco: texts with ### Human: and ### Assistant:, or Alpaca's columns with a chat in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from luthier.data.config import SourceConfig
from luthier.data.formats.alpaca import INSTRUCTION, OUTPUT, instruct
from luthier.data.importing.conversation import checked
from luthier.data.importing.instructions import (
    ANSWERS,
    each,
    exchange,
    named,
    require_choice,
    require_switch,
    text_of,
)
from luthier.data.importing.sample import Sample
from luthier.data.importing.transcript import spoken, transcribed
from luthier.data.rows import Reject, Row, Table
from luthier.example import Message, Role

_MARKS = re.compile(r"###[ \t]*(Human|Assistant):")
# BELLE's chats say Human, some with the colon of Chinese.
_LINES = re.compile(r"^(User|Human|Assistant|System)[:：]", re.MULTILINE)
_ROLES: dict[str, Role] = {
    "human": "user", "user": "user", "assistant": "assistant", "system": "system",
}  # fmt: skip
ALSO_READS = ("alpaca",)
"""Formats in whose records its sets are published, too."""
EXAMPLE: dict[str, Any] = {
    "instruction": "User: Is grass green?\nAssistant: Yes.", "input": "User: And the sky?",
    "output": "Blue.",
}  # fmt: skip
"""A record of this format."""


def rows(
    table: Table, source: SourceConfig, *, trim: bool = False, answers: str = "required"
) -> Iterator[Row | Reject]:
    """Rows of any of the two sets that go by this name.

    OpenAssistant-Guanaco has one column `text` with all turns. GuanacoDataset has Alpaca's columns;
    in its chat part, `instruction` holds the turns so far (`User:`, `Assistant:`) and `input` the
    next one, before which `System:` may give something to go by: that becomes the system message,
    at the beginning. So do BELLE's chats of several turns (`Human:`), whose `instruction` ends with
    the mark of the answer.

    Args:
        table: the opened file.
        source: what the recipe says of it.
        trim: of texts, cut off what stands before the first question and after the last answer;
            the field `trimmed` says what.
        answers: of columns, `required` rejects rows without an answer; `optional` keeps them.
    """
    require_switch("guanaco", "trim", trim)
    require_choice("guanaco", "answers", answers, ANSWERS)
    return each(table, lambda row: _row(row, trim, answers))


def _row(row: Row, trim: bool, answers: str) -> Row:
    if named(row.fields, INSTRUCTION) is None and "text" in row.fields:
        return _text(row, trim)
    instruction = text_of(row.fields, INSTRUCTION) or ""
    given = text_of(row.fields, ("input",)) or ""
    if not _is_chat(instruction) and not _is_chat(given):
        return instruct(row, answers)
    before, turns = spoken("\n".join(filter(None, (instruction, given))), _LINES, _ROLES)
    if turns[-1] == Message("assistant", ""):
        turns.pop()  # where the answer goes
    told = [before] if before else []
    told += [m.content for m in turns if m.role == "system" and m.content]
    asked = [m for m in turns if m.role != "system"]
    if told:
        asked.insert(0, Message("system", "\n\n".join(told)))
    answer = text_of(row.fields, OUTPUT)
    if answer is None or not answer.strip():
        return exchange(row, dict(row.fields), asked, None, answers)
    turns = [*asked, Message("assistant", answer)]
    return replace(row, messages=checked(list(enumerate(turns, 1)), alternating=True).messages)


def _text(row: Row, trim: bool) -> Row:
    text = text_of(row.fields, ("text",)) or ""
    marked = "the text has no ### Human: and ### Assistant:"
    return transcribed(row, text, _MARKS, _ROLES, marked=marked, trim=trim)


def _is_chat(text: str) -> bool:
    return _LINES.match(text.lstrip()) is not None


def fits(sample: Sample) -> float:
    """How sure it is that a file is of this format."""
    marked = sample.share(
        lambda r: isinstance(r.get("text"), str) and _MARKS.search(r["text"]) is not None
    )
    chats = sample.share(
        lambda r: isinstance(r.get("instruction"), str) and "output" in r
        and (_is_chat(r["instruction"]) or _is_chat(str(r.get("input") or "")))
    )  # fmt: skip
    return max(0.98 * marked, 0.99 if chats > 0.2 else 0.0)
