"""OIG: conversations as one text, whose lines say <human>: and <bot>: where a turn begins."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from luthier.data.config import SourceConfig
from luthier.data.importing.instructions import (
    each,
    exchange,
    lacking,
    require_switch,
    text_of,
)
from luthier.data.importing.sample import Sample
from luthier.data.importing.side_columns import unread
from luthier.data.importing.transcript import transcribed
from luthier.data.rows import Reject, Row, Table
from luthier.example import Role

_MARKS = re.compile(r"^[ \t]*<(human|bot)>:", re.MULTILINE)
_ROLES: dict[str, Role] = {"human": "user", "bot": "assistant"}
_CHIP2 = ("user", "chip2")
EXAMPLE: dict[str, Any] = {"text": "<human>: Is grass green?\n<bot>: Yes."}
"""A record of this format."""


def rows(table: Table, source: SourceConfig, *, trim: bool = False) -> Iterator[Row | Reject]:
    """Rows with the turns of their text, without the space around them.

    What stands before the first mark (`Background: ...` and a passage, in the parts made from
    question answering) is what both speakers go by: it becomes the system message. The smaller copy
    of chip2 (OIG-small-chip2) has the question in `user` and the answer in `chip2` instead.

    Args:
        table: the opened file.
        source: `text` names the column.
        trim: cut off what stands before the first question and after the last answer; the field
            `trimmed` says what.
    """
    require_switch("oig", "trim", trim)
    return each(table, lambda row: _row(row, source.text, trim))


def _row(row: Row, column: str, trim: bool) -> Row:
    text = text_of(row.fields, (column,))
    if text is None and all(name in row.fields for name in _CHIP2):
        asked, answer = ((text_of(row.fields, (name,)) or "").strip() for name in _CHIP2)
        return exchange(row, dict(row.fields), asked, answer)
    if text is None:
        raise lacking(column, row.fields)
    marked = "no line begins with <human>: or <bot>:"
    return transcribed(row, text, _MARKS, _ROLES, marked=marked, trim=trim)


def fits(sample: Sample) -> float:
    """How sure it is that a file is of this format."""
    marked = sample.share(
        lambda r: isinstance(r.get("text"), str) and _MARKS.search(r["text"]) is not None
    )
    chip2 = sample.share(lambda r: all(isinstance(r.get(name), str) for name in _CHIP2))
    # Beside a conversation they are what it was made of.
    return 0.98 * max(marked, 0.0 if chip2 and unread(sample, _CHIP2) else chip2)
