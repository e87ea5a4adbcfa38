"""ShareGPT and Vicuna: conversations as lists of {from, value}; human, gpt, system and tools."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import IO, Any

from luthier.as_written import json_text
from luthier.data.config import SourceConfig
from luthier.data.importing import outgoing
from luthier.data.importing.conversation import ANY, Unfit, conversation, first_turn, tools_of
from luthier.data.importing.instructions import (
    SYSTEM,
    each,
    lacking,
    named,
    require_switch,
    with_system,
)
from luthier.data.importing.sample import Sample
from luthier.data.rows import Reject, Row, Table
from luthier.example import Message

NAMES = ("conversations", "conversation", "messages", "items")
"""Columns in which the turns stand."""
_PAIRS = (("input", "output"), ("human", "assistant"))
"""Keys of a question with its answer, where those are one turn."""
_SPEAKERS = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}
EXAMPLE: dict[str, Any] = {
    "conversations": [
        {"from": "human", "value": "Is grass green?"}, {"from": "gpt", "value": "Yes."}
    ]
}  # fmt: skip
"""A record of this format."""


def rows(table: Table, source: SourceConfig, *, trim: bool = False) -> Iterator[Row | Reject]:
    """Rows with their conversation, whose turns must alternate and say something.

    Two turns of one speaker, a first turn of the assistant, an empty turn and a last turn of the
    user are known defects of ShareGPT: such rows are rejected with the message that is wrong.
    Nothing is cut or joined unless asked for, since what was said between two turns of one speaker
    is gone. A column `system` (or `system_prompt`) becomes the system message; `function_call`
    turns hold calls as JSON, `observation` turns what the tool answered (LLaMA-Factory).

    Args:
        table: the opened file.
        source: what the recipe says of it.
        trim: cut off what stands before the first question and after the last answer, as FastChat
            does; the field `trimmed` says what.
    """
    require_switch("sharegpt", "trim", trim)
    return each(table, lambda row: talk(row, trim=trim))


def talk(row: Row, *, trim: bool = False) -> Row:
    """One record as a row.

    Raises:
        Unfit: it holds no conversation that ends with an answer.
    """
    column = named(row.fields, NAMES)
    if column is None:
        raise lacking("conversations", row.fields)
    found = conversation(_spoken(row.fields[column]), keys=ANY, alternating=True, trim=trim)
    messages = with_system(found.messages, row.fields)
    fields = row.fields | ({"trimmed": found.trimmed} if found.trimmed else {})
    return replace(row, fields=fields, messages=messages, tools=tools_of(fields))


def _spoken(turns: Any) -> Any:
    """Turns one by one, where a question stands with its answer."""
    pair = _pair_of(first_turn(turns))
    if pair is None:
        return turns
    if isinstance(turns, str):
        turns = json.loads(turns)  # `first_turn` has read it
    found: list[Any] = []
    for turn in turns:
        if not isinstance(turn, dict) or set(turn) != set(pair):
            found.append(turn)  # which is told
            continue
        found += [
            {"from": "human", "value": turn[pair[0]]},
            {"from": "gpt", "value": turn[pair[1]]},
        ]
    return found


def _pair_of(turn: Any) -> tuple[str, str] | None:
    return next((p for p in _PAIRS if isinstance(turn, dict) and set(turn) == set(p)), None)


def fits(sample: Sample) -> float:
    """How sure it is that a file is of this format."""
    if sample.has("chosen", "rejected") > 0.5:
        return 0.0
    if sample.share(lambda r: isinstance(r.get("label"), bool)) > 0.5:
        return 0.5
    return 0.98 * sample.share(_is_talk)


def _is_talk(record: Any) -> bool:
    column = named(record, NAMES)
    value = record.get(column)
    turn = first_turn(value)
    if not isinstance(turn, dict):
        # Conversations without turns stand in every dump of ShareGPT.
        return column in NAMES[:2] and value == []
    if _pair_of(turn) is not None:
        return column != "messages"
    if column == "items" and not set(turn) & set(ANY.said):
        return False
    return "from" in turn or (column != "messages" and ("role" in turn or "speaker" in turn))


def write(rows: Iterable[Row], file: IO[str]) -> Iterator[Reject]:
    """Write rows as a JSON list; yields those that it cannot hold."""
    return outgoing.write_list(rows, file, _record)


def _record(row: Row) -> dict[str, Any]:
    messages = outgoing.spoken(row, "sharegpt")
    if messages[0].role == "system" and not messages[0].content.strip():
        messages = messages[1:]
    turns = [_turn(message, number) for number, message in enumerate(messages, 1)]
    record: dict[str, Any] = {"conversations": turns}
    if row.tools is not None:
        record["tools"] = row.tools
    # What its readers would refuse, or read as something else, is not written.
    again = conversation(turns, keys=ANY, alternating=True).messages
    for number, (one, other) in enumerate(zip(messages, again, strict=True), 1):
        if one.name != other.name:
            raise Unfit(f"names: message {number} says who speaks, which sharegpt cannot hold")
    reserved = (*SYSTEM, *outgoing.labels(row))
    return outgoing.with_others(record, row, reserved=reserved)


def _turn(message: Message, number: int) -> dict[str, Any]:
    turn: dict[str, Any] = {"from": _SPEAKERS[message.role], "value": message.content}
    if message.tool_calls:
        if message.content:
            raise Unfit(f"tools: message {number} speaks and calls tools, sharegpt holds one")
        calls = outgoing.values(message.tool_calls)
        turn = {"from": "function_call", "value": json_text(calls[0] if len(calls) == 1 else calls)}
    if message.weight is not None:
        turn["weight"] = message.weight
    return turn
