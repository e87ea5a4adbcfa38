"""Rows on their way out: what a format cannot hold, and what else goes along."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

from luthier.as_written import WrittenFloat, json_text
from luthier.data.importing.conversation import (
    ANY,
    OPENAI,
    WEIGHTS,
    Unfit,
    ids_of,
    messages_of,
    parts_of,
    tools_of,
    turns_of,
)
from luthier.data.importing.instructions import SYSTEM, joined, truth
from luthier.data.rows import Reject, Row
from luthier.example import Message, Role

Record = Callable[[Row], dict[str, Any]]
"""Makes a row's record, or raises Unfit."""
_TEXTS = (
    "instruction", "input", "context", "output", "response", "completion",
    "instruction_with_input", *SYSTEM, "prompt", "query", "question", "inputs", "targets",
    "inputs_pretokenized", "targets_pretokenized", "text", "definition",
)  # fmt: skip
"""Fields that usually hold a part of the conversation; left out where they do."""
_TURNS = (
    "messages", "conversations", "conversation", "items", "data", "history", "prompt", "question",
    "input", "completion", "chosen", "preferred_output", "rejected", "non_preferred_output",
)  # fmt: skip
"""Fields that may hold turns; left out where they are those of the conversation."""
_TALKS = frozenset((
    "messages", "conversations", "conversation", "items", "data", "thread", "text", "history",
    "instruction", "Instruction", "instances", "Instances", "Instance", "definition", "Definition",
    "prompt", "completion", "inputs", "targets", "inputs_pretokenized", "targets_pretokenized",
    "preferred_output",
))  # fmt: skip
"""Fields by which one format or another knows its conversation: beside one they get another name,
lest a reader takes the wrong one."""
_DIVISIONS = (("instruction", "input"), ("instruction", "context"), ("definition", "input"),
              ("Instruction", "Input"))  # fmt: skip
"""Fields that make a question together."""
_MARK = re.compile(
    r"(?:[\s<>\[\]|#:/*_]|human|user|prompter|bot|assistant|system|background|gpt|inst(?:ruction)?|"
    r"input|response|endoftext|im_start|im_end|sys|s\b)*",
    re.IGNORECASE,
)
"""What stands between the turns of a transcript."""
_TOOLS = ("tools", "functions")
_REPLIES = {"chosen": "chosen", "rejected": "rejected", "preferred_output": "chosen",
            "non_preferred_output": "rejected"}  # fmt: skip
"""Fields of preference pairs, and the side they are."""
_TURN_KEYS = frozenset((*WEIGHTS, "name", "tool_calls", "function_call", "tool_call_id"))
"""Keys of a turn, beside who speaks and what, that go into a message."""
TASK_LEVEL = (
    "positive_examples", "negative_examples", "Definition", "Positive Examples",
    "Negative Examples", "Examples",
)  # fmt: skip
"""What a Natural-Instructions task says once for all of its instances."""


def write_list(rows: Iterable[Row], file: IO[str], record: Record) -> Iterator[Reject]:
    """Write a JSON list, a record a line; yields the rows that the format cannot hold."""
    file.write("[")
    count = 0
    for made in _made(rows, record):
        if isinstance(made, Reject):
            yield made
            continue
        file.write((",\n" if count else "\n") + json_text(made))
        count += 1
    file.write("\n]\n" if count else "]\n")


def write_lines(rows: Iterable[Row], file: IO[str], record: Record) -> Iterator[Reject]:
    """Write JSON lines; yields the rows that the format cannot hold."""
    for made in _made(rows, record):
        if isinstance(made, Reject):
            yield made
        else:
            file.write(json_text(made) + "\n")


def _made(rows: Iterable[Row], record: Record) -> Iterator[dict[str, Any] | Reject]:
    for row in rows:
        try:
            yield record(row)
        except Unfit as error:
            yield Reject(row.origin, str(error), row.fields)


# --- what does not fit -------------------------------------------------------------------------


def plain_turns(
    row: Row, format: str, *, answered: bool = True
) -> tuple[str, list[tuple[str, str]]]:
    """The system message (empty: none) and the pairs of question and answer.

    Args:
        row: a row with a conversation.
        format: where it is to go, for messages.
        answered: whether a last question without an answer does not fit; else its answer is empty.

    Raises:
        Unfit: there is more to the conversation than that.
    """
    turns = list(spoken(row, format, answered=answered))
    if row.tools is not None:
        raise Unfit(f"tools: {format} cannot hold the tools of a conversation")
    for number, message in enumerate(turns, 1):
        if message.role == "tool" or message.tool_calls:
            raise Unfit(f"tools: message {number} calls or is a tool, which {format} cannot hold")
        if message.name is not None:
            raise Unfit(f"names: message {number} says who speaks, which {format} cannot hold")
        if weight_of(message) is not None:
            raise Unfit(f"weights: message {number} has its own weight, which {format} cannot hold")
    system = turns.pop(0).content if turns[0].role == "system" else ""
    unanswered = bool(turns) and turns[-1].role == "user"
    require_turns(turns[:-1] if unanswered and not answered else turns, format)
    said = [m.content for m in turns] + ([""] if unanswered else [])
    return system, list(zip(said[::2], said[1::2], strict=True))


def single_turn(row: Row, format: str) -> tuple[str, str]:
    """The question and the answer of a row that has no more than these.

    Raises:
        Unfit: it has.
    """
    system, pairs = plain_turns(row, format)
    if system:
        raise Unfit(f"system message: {format} cannot hold one")
    if len(pairs) > 1:
        raise Unfit(f"several turns: {len(pairs)} questions with answers, {format} holds one")
    return pairs[0]


def spoken(row: Row, format: str, *, answered: bool = True) -> tuple[Message, ...]:
    """The messages of a row.

    Args:
        row: a row with a conversation.
        format: where it is to go, for messages.
        answered: whether a question without an answer does not fit.

    Raises:
        Unfit: it has none, or they end without an answer.
    """
    if not row.messages:
        what = "plain text" if row.text is not None else "no conversation"
        raise Unfit(f"{what}: {format} holds questions and answers")
    if answered and row.messages[-1].role != "assistant":
        raise Unfit(f"no answer: the last message is from {row.messages[-1].role}")
    return row.messages


def require_turns(turns: list[Message], format: str) -> None:
    """Raise Unfit unless user and assistant take turns, and say something in each."""
    for number, message in enumerate(turns):
        expected = ("user", "assistant")[number % 2]
        if message.role != expected:
            raise Unfit(
                f"alternation: message {number + 1} is from {message.role}, {format} expects "
                f"{expected}"
            )
        if not message.content.strip():
            raise Unfit(f"empty turn: message {number + 1} ({message.role}) says nothing")
    if len(turns) % 2:
        raise Unfit("no answer: the last message is from user")


def weight_of(message: Message) -> float | None:
    """A weight that says something: 0 on a question and 1 on an answer go without saying."""
    usual = 1.0 if message.role == "assistant" else 0.0
    return None if message.weight is None or message.weight == usual else message.weight


# --- what goes along ---------------------------------------------------------------------------


def parts(row: Row, asked: str) -> tuple[str, str]:
    """A question as instruction and input, as the row's fields divide it, else undivided."""
    instruction, given = row.fields.get("instruction"), row.fields.get("input")
    divided = isinstance(instruction, str) and isinstance(given, str) and instruction.strip()
    if divided and joined(instruction, given) == asked:
        return str(instruction), str(given)
    return asked, ""


def with_others(
    record: dict[str, Any], row: Row, *, reserved: Sequence[str] = ()
) -> dict[str, Any]:
    """A record with the row's other fields: ids, ranks, sources and what else its file said.

    A field whose name the record uses itself is called `NAME_column`, and so is one that would be
    read as a part of the conversation, or as a conversation of its own. One that says what the
    conversation says, word for word, is left out.

    Args:
        record: what the format itself has.
        row: where it comes from.
        reserved: names that the format has a use for, beside those of tools.
    """
    said = _said(row)
    others = {
        name: value for name, value in row.fields.items()
        if name not in TASK_LEVEL and not _is_said(name, value, said, row)
    }  # fmt: skip
    # Both sides of a pair would be read as one.
    pair = ("chosen", "rejected") if {"chosen", "rejected"} <= others.keys() else ()
    taken = {*reserved, *_TOOLS, *_TALKS, *pair}
    for name, value in others.items():
        free = name
        while free in record or free in taken:
            free += "_column"
        record[free] = value
    return record


def labels(row: Row) -> tuple[str, ...]:
    """`label`, where it is one of true and false: beside turns they mark an answer (KTO)."""
    return ("label",) if truth(row.fields.get("label")) is not None else ()


def call_ids(row: Row) -> list[list[str]] | None:
    """The ids that the row's file gave to calls of tools, for each message that calls.

    None: it gave some, and it is not clear to which calls of the conversation.
    """
    calling = [m.tool_calls for m in row.messages if m.tool_calls]
    found: list[list[str]] | None = []
    for name in _TURNS if calling else ():
        value = row.fields.get(name)
        turns = [turn for turn in _listed(value) if _calls(turn)]
        ids = [ids_of(t, len(t["tool_calls"])) for t in turns]
        if not any(ids) or not _holds_turns(name, value, row):
            continue
        counts = [len(values(each)) for each in calling]
        if [len(t["tool_calls"]) for t in turns] == counts:
            return ids
        found = None
    return found


def lost_ids(row: Row) -> Iterator[tuple[bool, list[str]]]:
    """What turns say of ids of calls, and whether these are those of the conversation."""
    ids = call_ids(row)
    if ids is None or any(ids):
        names = [name for name in _TURNS if _has_ids(row.fields.get(name))]
        yield ids is not None, [f"{name}[].tool_calls[].id" for name in names]


def _has_ids(value: Any) -> bool:
    return any(
        isinstance(call, dict) and call.get("id")
        for turn in (_listed(value) if value else []) if _calls(turn)
        for call in turn["tool_calls"]
    )  # fmt: skip


def _calls(turn: Any) -> bool:
    calls = turn.get("tool_calls") if isinstance(turn, dict) else None
    return isinstance(calls, list) and bool(calls)


def lost_in_turns(row: Row) -> set[str]:
    """What turns of a row hold that no message does, as in `conversations[].markdown`."""
    lost: set[str] = set()
    for name in _TURNS:
        value = row.fields.get(name)
        turns = _listed(value) if value else []
        keys = {
            key for turn in turns if isinstance(turn, dict) and len(turn) > 2
            for key in _more(turn)
        }  # fmt: skip
        if keys and _holds_turns(name, value, row):
            lost.update(f"{name}[].{key}" for key in keys)
    return lost


def _more(turn: Mapping[str, Any]) -> set[str]:
    read = {next((n for n in names if n in turn), None) for names in (ANY.speaker, ANY.said)}
    return {
        key for key, value in turn.items()
        if key not in read and key not in _TURN_KEYS and value not in (None, "", [], {})
    }  # fmt: skip


def _said(row: Row) -> frozenset[str]:
    """The messages of a row, and the parts of a question where its fields divide it."""
    said = {m.content.strip() for m in row.messages}
    texts = {k: v.strip() for k, v in row.fields.items() if isinstance(v, str)}
    for names in _DIVISIONS:
        divided = [texts.get(name, "") for name in names]
        if joined(*divided) in said:
            said.update(divided)
    whole = texts.get("instruction_with_input")  # of Unnatural Instructions; limits stand under it
    if whole and any(one.startswith(f"{whole}\n") or one == whole for one in said):
        parts = (texts.get(name, "") for name in ("instruction", "input"))
        said.update([whole, *(part for part in parts if part in whole)])
    return frozenset((*said, ""))


def _is_said(name: str, value: Any, said: frozenset[str], row: Row) -> bool:
    """Whether the conversation says what a field holds."""
    if name in _TOOLS:
        with contextlib.suppress(Unfit):
            return tools_of({name: value}) in (None, row.tools)
        return False
    if name in _TURNS and (value in (None, "", [], {}) or _holds_turns(name, value, row)):
        return True
    if name in SYSTEM and isinstance(value, list):
        with contextlib.suppress(Unfit):
            return parts_of(value, name).strip() in said
    if not isinstance(value, str):
        return False
    if name in _REPLIES:
        here = row.fields.get("side") == _REPLIES[name]
        return here and (row.messages[-1].content == value or _is_transcript(value, row))
    if name.casefold() not in _TEXTS:
        return False
    return value.replace("<|endoftext|>", "").strip() in said or _is_transcript(value, row)


def _is_transcript(text: str, row: Row) -> bool:
    """Whether a text is messages of the row, from the first one on, and marks of who speaks."""
    rest, count = text, 0
    for message in row.messages:
        content = message.content.strip()
        before, found, after = rest.partition(content) if content else (rest, "", "")
        if not found or not _MARK.fullmatch(before):
            if count or message.role != "system":
                break
            continue
        rest, count = after, count + 1
    return count > 0 and _MARK.fullmatch(rest) is not None


def _holds_turns(name: str, value: Any, row: Row) -> bool:
    """Whether a field's turns are turns of the conversation, one after the other."""
    if name in _REPLIES and row.fields.get("side") != _REPLIES[name]:
        return False
    if isinstance(value, dict) and "messages" in value and set(value) - {"messages", *_TOOLS}:
        return False
    turns = _listed(value)
    if turns and any(_plainly(turns, part) for part in _ends(row.messages, len(turns))):
        return True
    told, cut = _telling(row.messages), "trimmed" in row.fields
    return any(
        found and (_within(found, told) or (cut and _within(told, found)))
        for found in map(_telling, _readings(name, turns))
    )


def _readings(name: str, turns: list[Any]) -> Iterator[list[Message]]:
    """What turns may have been read as: texts by turns, or objects under one set of keys."""
    texts = turns
    if name == "history" and all(isinstance(pair, (list, tuple)) for pair in turns):
        texts = [text for pair in turns for text in pair]
    if all(isinstance(text, str) for text in texts):
        roles: Sequence[Role] = ("user", "assistant")
        yield [Message(roles[n % 2], text) for n, text in enumerate(texts)]
        return
    for keys in (ANY, OPENAI):
        with contextlib.suppress(Unfit):
            yield messages_of(turns, keys)


def _telling(messages: Iterable[Message]) -> list[Message]:
    """Messages without empty ones of the system, which importers pass over."""
    return [m for m in messages if m.role != "system" or m.content.strip()]


def _ends(messages: Sequence[Message], count: int) -> tuple[Sequence[Message], ...]:
    """So many messages from the beginning, and so many from the end."""
    return messages[:count], messages[-count:]


def _plainly(turns: list[Any], messages: Sequence[Message]) -> bool:
    """Whether turns are just these messages, without reading them again (half of a conversion)."""
    return len(turns) == len(messages) and all(
        isinstance(turn, dict) and m.content == turn.get("value", turn.get("content"))
        for turn, m in zip(turns, messages, strict=True)
    )


def _listed(value: Any) -> list[Any]:
    """The turns that a field may hold: those of a list, of JSON text, or of an object."""
    if isinstance(value, dict):
        inner = value.get("messages")
        return inner if isinstance(inner, list) else [value]
    if isinstance(value, list):
        return value
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        return []
    try:
        return turns_of(value)
    except Unfit:
        return []


def _within(part: Sequence[Message], whole: Sequence[Message]) -> bool:
    """Whether messages stand in others, one after the other."""
    count = len(part)
    return any(whole[at : at + count] == part for at in range(len(whole) - count + 1))


def values(text: str) -> Any:
    """JSON text as values, numbers as they are spelt."""
    return json.loads(text, parse_float=WrittenFloat)
