"""LIMA: conversations as a list of texts, question and answer by turns; or in Alpaca's columns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from luthier.data.config import SourceConfig
from luthier.data.formats.alpaca import instruct
from luthier.data.importing.conversation import checked, turns_of
from luthier.data.importing.instructions import (
    ANSWERS,
    as_answer,
    each,
    exchange,
    named,
    require_choice,
)
from luthier.data.importing.sample import Sample
from luthier.data.rows import Reject, Row, Table
from luthier.example import Message

NAMES = ("conversations", "data")
"""Columns in which the texts stand: LIMA's, and UltraChat's."""
_WORDS_OF_A_TURN = 3
# Ideographs, kana, Thai and Lao.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]")
# "Question" and "answer" before the turns of HuatuoGPT's set.
_ASKS_ANSWERS = re.compile(r"\A\s*[问答][：:]\s*")
ALSO_READS = ("alpaca",)
"""Formats in whose records its set is published, too."""
_OTHERS = frozenset((
    "messages", "conversation", "items", "instruction", "Instruction", "prompt", "inputs",
    "inputs_pretokenized", "question", "chosen", "Definition", "definition", "output", "completion",
    "response", "answer",
))  # fmt: skip
"""Columns of a question, an answer or turns in another format; lists beside are their business."""
EXAMPLE: dict[str, Any] = {"conversations": ["Is grass green?", "Yes."], "source": "none"}
"""A record of this format."""


def rows(
    table: Table, source: SourceConfig, *, answers: str = "required"
) -> Iterator[Row | Reject]:
    """Rows with all turns of their conversation; `source` and other columns stay in `fields`.

    The test split of LIMA (arXiv 2305.11206) has questions only. Copies in Alpaca's columns, with
    earlier turns in `history`, are read as such.

    Args:
        table: the opened file.
        source: what the recipe says of it.
        answers: `required` rejects rows without an answer; `optional` keeps them without it.
    """
    require_choice("lima", "answers", answers, ANSWERS)
    return each(table, lambda row: _row(row, answers))


def _row(row: Row, answers: str) -> Row:
    texts = [name for name in NAMES if _is_texts(row.fields.get(name))]
    column = texts[0] if texts else named(row.fields, NAMES)
    if column is None or (column == "data" and not _is_texts(row.fields[column])):
        return instruct(row, answers)
    said = [as_answer(t, column) or "" for t in turns_of(row.fields[column])]
    if all(_ASKS_ANSWERS.match(text) for text in said):
        said = [_ASKS_ANSWERS.sub("", text, count=1) for text in said]
    roles = ("user", "assistant")
    turns = [Message(roles[n % 2], text) for n, text in enumerate(said)]  # type: ignore[arg-type]
    if len(turns) % 2:
        if len(turns) > 1:
            checked(list(enumerate(turns[:-1], 1)), alternating=True)
        return exchange(row, dict(row.fields), turns, None, answers)
    found = checked(list(enumerate(turns, 1)), alternating=True)
    return replace(row, messages=found.messages)


def fits(sample: Sample) -> float:
    """How sure it is that a file is of this format."""
    return 0.99 * sample.share(
        lambda r: not _OTHERS & r.keys() and (_is_texts(r.get("conversations")) or _is_talk(r))
    )


def often_unanswered(sample: Sample) -> bool:
    """Whether it is the test split, which has questions only."""
    return sample.share(lambda r: any(len(r.get(n) or ()) == 1 for n in NAMES)) > 0.5


def _is_talk(record: Any) -> bool:
    """Whether `data` are turns, and no words of a sentence or other list."""
    said = record.get("data")
    if not _is_texts(said) or len(said) % 2:
        return False
    return sum(_words(text) for text in said) >= _WORDS_OF_A_TURN * len(said)


def _words(text: str) -> int:
    """Words, and signs of scripts that have no space between words."""
    return len(text.split()) + len(_UNSPACED.findall(text))


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(t, str) for t in value)
