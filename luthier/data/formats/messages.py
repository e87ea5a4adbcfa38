"""Conversations: a column that holds a list of {role, content}, with tools, as OpenAI has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import IO, Any

from luthier.as_written import json_text
from luthier.data.config import SourceConfig
from luthier.data.files.mapping import mapped
from luthier.data.importing import outgoing
from luthier.data.importing.conversation import OPENAI, attempt, conversation, first_turn, tools_of
from luthier.data.importing.instructions import require_switch
from luthier.data.importing.sample import Sample
from luthier.data.rows import Reject, Row, Table
from luthier.example import Message

EXAMPLE: dict[str, Any] = {
    "messages": [
        {"role": "user", "content": "Is grass green?"}, {"role": "assistant", "content": "Yes."}
    ]
}  # fmt: skip
"""A record of this format."""


def rows(table: Table, source: SourceConfig, *, trim: bool = False) -> Iterator[Row | Reject]:
    """Rows with their conversation as messages; the columns stay in `fields`.

    Content may be a text or a list of text parts ({type: text, text: ...}). A conversation ends
    with the assistant's answer and has something before it. `loss_weight`, `weight` and `train` of
    a message become its weight; `tools` (or `functions`) of a row are kept, and so are
    `tool_calls` (or `function_call`) of messages, whose content may then be null.

    Args:
        table: the opened file.
        source: `messages` names the column.
        trim: cut off what stands before the first question and after the last answer; the field
            `trimmed` says what.
    """
    require_switch("messages", "trim", trim)
    return (
        attempt(row, lambda r: talk(r, "messages", trim=trim)) if isinstance(row, Row) else row
        for row in mapped(table, {"messages": source.messages})
    )


def talk(row: Row, column: str, *, trim: bool = False) -> Row:
    """One record as a row.

    Raises:
        Unfit: its column holds no conversation that ends with an answer.
    """
    found = conversation(row.fields[column], keys=OPENAI, trim=trim)
    fields = row.fields | ({"trimmed": found.trimmed} if found.trimmed else {})
    return replace(row, fields=fields, messages=found.messages, tools=tools_of(fields))


def fits(sample: Sample) -> float:
    """How sure it is that a file is of this format."""
    if sample.has("chosen", "rejected") > 0.5 or sample.has("preferred_output") > 0.5:
        return 0.0
    if sample.share(lambda r: isinstance(r.get("label"), bool)) > 0.5:
        return 0.5
    return 0.98 * sample.share(lambda r: _is_talk(r.get("messages")))


def _is_talk(value: Any) -> bool:
    turn = first_turn(value)
    return isinstance(turn, dict) and "role" in turn and ("content" in turn or "tool_calls" in turn)


def write(rows: Iterable[Row], file: IO[str]) -> Iterator[Reject]:
    """Write rows as JSON lines; yields those that it cannot hold."""
    return outgoing.write_lines(rows, file, _record)


def _record(row: Row) -> dict[str, Any]:
    record: dict[str, Any] = {"messages": _turns(outgoing.spoken(row, "messages", answered=False))}
    if row.tools is not None:
        record["tools"] = outgoing.values(row.tools)
    return outgoing.with_others(record, row)


def _turns(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Messages in OpenAI's form; calls get ids by which tools answer."""
    turns, count = [], 0
    waiting: list[tuple[str, str]] = []
    for message in messages:
        turn: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.tool_calls:
            calls, waiting = [], []
            for call in outgoing.values(message.tool_calls):
                count += 1
                waiting.append((f"call_{count}", call["name"]))
                function = {"name": call["name"], "arguments": json_text(call["arguments"])}
                calls.append({"id": f"call_{count}", "type": "function", "function": function})
            turn |= {"content": message.content or None, "tool_calls": calls}
        if message.role == "tool":
            asked = next((w for w in waiting if message.name in (w[1], None)), None)
            if asked is not None:
                waiting.remove(asked)
                turn["tool_call_id"] = asked[0]
        if message.name is not None:
            turn["name"] = message.name
        if message.weight is not None:
            turn["weight"] = message.weight
        turns.append(turn)
    return turns
