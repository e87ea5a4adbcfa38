"""TRL's conversations in two parts: a prompt and a completion, each a list of {role, content}."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from luthier.data.config import SourceConfig
from luthier.data.importing.conversation import (
    ANY,
    checked,
    first_turn,
    messages_of,
    tools_of,
    turns_of,
)
from luthier.data.importing.instructions import each, lacking, named, require_switch, text_of
from luthier.data.importing.sample import Sample
from luthier.data.rows import Reject, Row, Table
from luthier.example import Message

EXAMPLE: dict[str, Any] = {
    "prompt": [{"role": "user", "content": "Is grass green?"}],
    "completion": [{"role": "assistant", "content": "Yes."}],
}
"""A record of this format."""
_WHOLE = ("messages", "conversations", "conversation")
"""Columns beside which the two are what the conversation was made of."""


def rows(table: Table, source: SourceConfig, *, trim: bool = False) -> Iterator[Row | Reject]:
    """Rows with the turns of the prompt and, after them, those of the completion.

    (TRL, "Dataset formats and types", conversational prompt-completion.) As in any conversation,
    `train.train_on` says which answers are learned, the last one or all. A column `system` becomes
    the system message; `tools` are kept.

    Args:
        table: the opened file.
        source: what the recipe says of it.
        trim: cut off what stands before the first question and after the last answer; the field
            `trimmed` says what.
    """
    require_switch("prompt_completion", "trim", trim)
    return each(table, lambda row: _row(row, trim))


def _row(row: Row, trim: bool) -> Row:
    turns: list[Any] = []
    for column in ("prompt", "completion"):
        if column not in row.fields:
            raise lacking(column, row.fields)
        turns += turns_of(row.fields[column])
    messages = messages_of(turns, ANY)
    system = text_of(row.fields, ("system",))
    if system and system.strip() and messages[0].role != "system":
        messages.insert(0, Message("system", system))
    found = checked(list(enumerate(messages, 1)), trim=trim)
    fields = row.fields | ({"trimmed": found.trimmed} if found.trimmed else {})
    return replace(row, fields=fields, messages=found.messages, tools=tools_of(fields))


def fits(sample: Sample) -> float:
    """How sure it is that a file is of this format."""
    if sample.share(lambda r: isinstance(r.get("label"), bool)) > 0.5:
        return 0.0  # KTO's labelled answers
    return 0.98 * sample.share(
        lambda r: (
            _is_talk(r.get("prompt")) and _is_talk(r.get("completion")) and named(r, _WHOLE) is None
        )
    )


def _is_talk(value: Any) -> bool:
    turn = first_turn(value)
    return isinstance(turn, dict) and bool({"role", "from"} & set(turn))
