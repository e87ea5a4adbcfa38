"""Preference pairs (DPO: chosen and rejected) and labelled answers (KTO); one side is learned."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from luthier.data.config import SourceConfig
from luthier.data.importing.conversation import (
    ANY,
    Unfit,
    attempt,
    checked,
    messages_of,
    tools_of,
    turns_of,
)
from luthier.data.importing.instructions import (
    SIDES,
    as_answer,
    joined,
    lacking,
    named,
    require_choice,
    require_side,
    text_of,
    truth,
)
from luthier.data.importing.sample import Sample
from luthier.data.importing.transcript import spoken
from luthier.data.rows import Reject, Row, Table
from luthier.example import Message, Role

_ASKED = (
    "conversations", "conversation", "messages", "prompt", "question", "instruction", "input",
    "trajectory",
)  # fmt: skip
_REPLIES = {
    "chosen": ("chosen", "preferred_output"), "rejected": ("rejected", "non_preferred_output"),
}  # fmt: skip
# Transcripts of Anthropic's HH-RLHF.
_MARKS = re.compile(r"(?:\A|\n\n)(Human|Assistant):")
_ROLES: dict[str, Role] = {"human": "user", "assistant": "assistant"}
EXAMPLE: dict[str, Any] = {"prompt": "Is grass green?", "chosen": "Yes.", "rejected": "No."}
"""A record of this format."""


def rows(table: Table, source: SourceConfig, *, side: str = "chosen") -> Iterator[Row | Reject]:
    """Rows that end with the better of two answers, or with the worse one.

    The question is a text or a list of turns (`prompt`, `conversations`, `messages`, `question`);
    answers are texts, turns, lists of turns, or whole conversations. Rows of KTO have one answer
    and a `label`, true where it is wanted. Everything stays in `fields`, where `side` says which
    answer was taken.

    Args:
        table: the opened file.
        source: what the recipe says of it.
        side: `chosen` for the better answer, `rejected` for the worse, `both` for a row of each.
    """
    require_choice("preference", "side", side, SIDES)
    for row in table.records:
        if isinstance(row, Reject):
            yield row
        elif _is_labelled(row.fields):
            yield attempt(row, lambda r: _labelled(r, side))
        elif named(row.fields, _REPLIES["chosen"]) is None:
            yield attempt(row, _incomplete)
        else:
            for one in ("chosen", "rejected") if side == "both" else (side,):
                yield attempt(row, lambda r, one=one: _pair(r, one))  # type: ignore[misc]


def _incomplete(row: Row) -> Row:
    raise lacking("chosen", row.fields)


def _pair(row: Row, side: str) -> Row:
    reply = named(row.fields, _REPLIES[side])
    if reply is None:
        raise lacking(side, row.fields)
    answer = _reply(row.fields[reply], reply)
    turns = answer
    if next((m.role for m in answer if m.role != "system"), "assistant") == "assistant":
        turns = [*_before(_asked(row.fields), row.fields), *answer]
    return _row(row, turns, side)


def _before(asked: list[Message], fields: Mapping[str, Any]) -> list[Message]:
    """The turns to which both sides answer, where the list of turns ends with one of the two."""
    if asked[-1].role != "assistant":
        return asked
    for names in _REPLIES.values():
        column = named(fields, names)
        if column is not None and asked[-1:] == _reply(fields[column], column)[-1:]:
            return asked[:-1]
    return asked


def _labelled(row: Row, side: str) -> Row:
    label = truth(row.fields["label"])
    require_side("label", label, side)
    turns = _asked(row.fields)
    if "completion" in row.fields:
        turns += _reply(row.fields["completion"], "completion")
    return _row(row, turns, "chosen" if label else "rejected")


def _row(row: Row, turns: list[Message], side: str) -> Row:
    found = checked(list(enumerate(turns, 1)), alternating=True)
    given = row.fields.get("input")
    tools = tools_of(given if isinstance(given, dict) else row.fields)
    return replace(row, fields={**row.fields, "side": side}, messages=found.messages, tools=tools)


def _asked(fields: Mapping[str, Any]) -> list[Message]:
    column = named(fields, _ASKED)
    if column is None:
        raise lacking("prompt", fields)
    value = fields[column]
    if isinstance(value, dict):
        value = value.get("messages")
    if isinstance(value, str) and not value.lstrip().startswith("[{"):
        before, turns = spoken(value, _MARKS, _ROLES)
        if turns and turns[-1] == Message("assistant", ""):
            turns.pop()  # `Assistant:` at the end, where the answer goes
        if before or not turns:
            given = text_of(fields, ("input",)) if column == "instruction" else None
            turns = [Message("user", joined(value, given))]
    else:
        turns = messages_of(turns_of(value), ANY)
    system = text_of(fields, ("system",))
    if system and system.strip() and turns[0].role != "system":
        turns.insert(0, Message("system", system))
    return turns


def _reply(value: Any, column: str) -> list[Message]:
    if isinstance(value, dict):
        return messages_of([value], ANY)
    if isinstance(value, list):
        return messages_of(turns_of(value), ANY)
    text = as_answer(value, column)
    if text is None or not text.strip():
        raise Unfit(f"no answer: '{column}' is empty")
    before, turns = spoken(text, _MARKS, _ROLES)
    whole = not before and len(turns) > 1 and turns[0].role == "user"
    return turns if whole else [Message("assistant", text)]


def _is_asked(fields: Mapping[str, Any]) -> bool:
    """Whether something is asked, in a column or at the beginning of the answers themselves."""
    if named(fields, _ASKED) is not None:
        return True
    try:
        turns = _reply(fields[str(named(fields, _REPLIES["chosen"]))], "chosen")
    except Unfit:
        return False
    return turns[0].role != "assistant"


def _is_labelled(fields: Mapping[str, Any]) -> bool:
    return "chosen" not in fields and truth(fields.get("label")) is not None


def fits(sample: Sample) -> float:
    """How sure it is that a file is of this format."""
    pairs = max(
        sample.share(lambda r, names=names: all(n in r for n in names) and _is_asked(r))  # type: ignore[misc]
        for names in zip(*_REPLIES.values(), strict=True)
    )
    labelled = sample.share(
        lambda r: _is_labelled(r) and named(r, _ASKED[:4]) is not None
        and ("completion" in r or isinstance(r.get(str(named(r, _ASKED[:4]))), list))
    )  # fmt: skip
    return max(0.98 * pairs, 0.97 * labelled)
