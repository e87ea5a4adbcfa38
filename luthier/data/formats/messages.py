"""Conversations: a column that holds a list of {role, content}, for `task.kind: chat`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, get_args

from luthier.data.config import SourceConfig
from luthier.data.mapping import mapped
from luthier.data.rows import Reject, Row, Table, kind_of
from luthier.example import Message, Role

ROLES = get_args(Role)


def rows(table: Table, source: SourceConfig) -> Iterator[Row | Reject]:
    """Rows with their conversation as messages; the columns stay in `fields`.

    Content may be a text or a list of text parts ({type: text, text: ...}). A conversation ends
    with the assistant's answer and has something before it.
    """
    for row in mapped(table, {"messages": source.messages}):
        if isinstance(row, Row):
            try:
                row = replace(row, messages=_conversation(row.fields["messages"]))
            except _Unusable as error:
                row = Reject(row.origin, f"not a conversation: {error}", row.fields)
        yield row


class _Unusable(Exception):
    """What is wrong with a conversation."""


def _conversation(value: Any) -> tuple[Message, ...]:
    if isinstance(value, str):
        # CSV and many Parquet files carry the list as JSON text.
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise _Unusable("expected a list of messages, found a text") from None
    if not isinstance(value, list) or not value:
        found = "an empty list" if value == [] else kind_of(value)
        raise _Unusable(f"expected a list of messages, found {found}")
    messages = tuple(_message(turn, number) for number, turn in enumerate(value, 1))
    for number, message in enumerate(messages[1:], 2):
        if message.role == "system":
            raise _Unusable(f"message {number} is from system, which may only come first")
    if messages[-1].role != "assistant":
        raise _Unusable(f"the last message is from {messages[-1].role}, expected assistant")
    if all(m.role == "system" for m in messages[:-1]):
        raise _Unusable("nothing is asked before the answer")
    return messages


def _message(turn: Any, number: int) -> Message:
    if not isinstance(turn, dict):
        raise _Unusable(f"message {number} is {kind_of(turn)}, expected {{role, content}}")
    for key in ("role", "content"):
        if key not in turn:
            raise _Unusable(f"message {number} has no '{key}' (it has {', '.join(map(str, turn))})")
    role = turn["role"]
    if role not in ROLES:
        raise _Unusable(f"message {number}: role {role!r} is none of {', '.join(ROLES)}")
    if turn.get("tool_calls"):
        raise _Unusable(f"message {number} calls tools, which cannot be rendered")
    return Message(role, _content(turn["content"], number))


def _content(content: Any, number: int) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise _Unusable(f"message {number}: content is {kind_of(content)}, expected text")
    parts = []
    for part in content:
        text = part
        if isinstance(part, dict):
            if part.get("type", "text") != "text":
                raise _Unusable(f"message {number} has a part of type {part['type']!r}, not text")
            text = part.get("text", part.get("value"))
        if not isinstance(text, str):
            raise _Unusable(f"message {number} has a part that is {kind_of(text)}, not text")
        parts.append(text)
    return "".join(parts)
