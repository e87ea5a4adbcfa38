"""Conversations: a column that holds a list of {role, content}, with tools, as OpenAI has them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import count, islice
from typing import IO, Any

from luthier.as_written import json_text
from luthier.data.config import SourceConfig
from luthier.data.files.mapping import mapped
from luthier.data.importing import outgoing
from luthier.data.importing.conversation import (
    OPENAI,
    Unfit,
    attempt,
    conversation,
    first_turn,
    tools_of,
    turns_of,
)
from luthier.data.importing.instructions import (
    ANSWERS,
    SYSTEM,
    require_choice,
    require_switch,
    with_system,
)
from luthier.data.importing.sample import Sample
from luthier.data.rows import Reject, Row, Table
from luthier.example import Message

EXAMPLE: dict[str, Any] = {
    "messages": [
        {"role": "user", "content": "Is grass green?"}, {"role": "assistant", "content": "Yes."}
    ]
}  # fmt: skip
"""A record of this format."""


def rows(
    table: Table, source: SourceConfig, *, trim: bool = False, answers: str = "required"
) -> Iterator[Row | Reject]:
    """Rows with their conversation as messages; the columns stay in `fields`.

    Content may be a text or a list of text parts ({type: text, text: ...}). A conversation ends
    with the assistant's answer and has something before it. `loss_weight`, `weight` and `train` of
    a message become its weight; `tools` (or `functions`) of a row are kept, and so are
    `tool_calls` (or `function_call`) of messages, whose content may then be null. A column `system`
    (or `system_prompt`) becomes the system message of a conversation that has none.

    Args:
        table: the opened file.
        source: `messages` names the column.
        trim: cut off what stands before the first question and after the last answer; the field
            `trimmed` says what.
        answers: `required` rejects conversations that end with a question; `optional` keeps them.
    """
    require_switch("messages", "trim", trim)
    require_choice("messages", "answers", answers, ANSWERS)
    answered = answers == "required"
    return (
        attempt(row, lambda r: talk(r, "messages", trim=trim, answered=answered))
        if isinstance(row, Row) else row
        for row in mapped(table, {"messages": source.messages})
    )  # fmt: skip


def talk(row: Row, column: str, *, trim: bool = False, answered: bool = True) -> Row:
    """One record as a row.

    Raises:
        Unfit: its column holds no conversation, or none that ends with an answer though it must.
    """
    found = conversation(row.fields[column], keys=OPENAI, trim=trim, answered=answered)
    messages = with_system(found.messages, row.fields)
    fields = row.fields | ({"trimmed": found.trimmed} if found.trimmed else {})
    return replace(row, fields=fields, messages=messages, tools=tools_of(fields))


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


def often_unanswered(sample: Sample) -> bool:
    """Whether it is a file of questions, such as other files of questions are converted to."""
    return sample.share(lambda r: _asks(r.get("messages"))) > 0.5


def _asks(value: Any) -> bool:
    with contextlib.suppress(Unfit):
        turn = turns_of(value)[-1]
        return isinstance(turn, dict) and turn.get("role") == "user"
    return False


def write(rows: Iterable[Row], file: IO[str]) -> Iterator[Reject]:
    """Write rows as JSON lines; yields those that it cannot hold."""
    return outgoing.write_lines(rows, file, _record)


def _record(row: Row) -> dict[str, Any]:
    messages = outgoing.spoken(row, "messages", answered=False)
    record: dict[str, Any] = {"messages": _turns(messages, outgoing.call_ids(row) or [])}
    if row.tools is not None:
        record["tools"] = outgoing.values(row.tools)
    # `built` knows its rows by, among others, `fields`.
    reserved = (*SYSTEM, "fields", *outgoing.labels(row))
    return outgoing.with_others(record, row, reserved=reserved)


def _turns(messages: Iterable[Message], known: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """Messages in OpenAI's form; calls have the ids that are known, or get some.

    Args:
        messages: a conversation.
        known: the ids of calls, for each message that calls; none of a message: it gets some.
    """
    taken = {one for each in known for one in each}
    fresh = (name for name in map("call_{}".format, count(1)) if name not in taken)
    told = iter(known)
    turns = []
    waiting: list[tuple[str, str]] = []
    for message in messages:
        turn: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.tool_calls:
            calls, waiting = [], []
            made = outgoing.values(message.tool_calls)
            ids = next(told, ()) or list(islice(fresh, len(made)))
            for one, call in zip(ids, made, strict=True):
                waiting.append((one, call["name"]))
                function = {"name": call["name"], "arguments": json_text(call["arguments"])}
                calls.append({"id": one, "type": "function", "function": function})
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
