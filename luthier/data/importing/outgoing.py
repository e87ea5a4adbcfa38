"""Rows on their way out: what a format cannot hold, and what else goes along."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, Any

from luthier.as_written import WrittenFloat, json_text
from luthier.data.importing.conversation import Unfit
from luthier.data.importing.instructions import joined
from luthier.data.rows import Reject, Row
from luthier.example import Message

Record = Callable[[Row], dict[str, Any]]
"""Makes a row's record, or raises Unfit."""
_TEXTS = (
    "instruction", "Instruction", "input", "context", "output", "response", "completion",
    "instruction_with_input", "system", "prompt", "query", "question", "inputs", "targets",
    "inputs_pretokenized", "targets_pretokenized", "text", "definition",
)  # fmt: skip
"""Fields that usually hold a part of the conversation; left out where they do."""
_STRUCTURES = (
    "messages", "conversations", "conversation", "thread", "history", "chosen", "prompt", "input",
    "preferred_output", "tools", "functions",
)  # fmt: skip
"""Fields whose lists and objects are the conversation or its tools."""
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


def with_others(record: dict[str, Any], row: Row) -> dict[str, Any]:
    """A record with the row's other fields: ids, ranks, sources and what else its file said.

    A field whose name the record uses itself is called `NAME_column`.
    """
    contents = [m.content for m in row.messages]
    for name, value in row.fields.items():
        if name in TASK_LEVEL or _is_said(name, value, contents, row.fields):
            continue
        free = name
        while free in record:
            free += "_column"
        record[free] = value
    return record


def _is_said(name: str, value: Any, contents: list[str], fields: Mapping[str, Any]) -> bool:
    """Whether the conversation says what a field holds."""
    if name in _STRUCTURES and isinstance(value, (list, dict)):
        return True
    if not isinstance(value, str):
        return name in _STRUCTURES and value is None
    if name in ("tools", "functions", "messages", "conversations"):
        return True
    if name not in _TEXTS:
        return False
    bare = value.replace("<|endoftext|>", "")
    return any(bare in content for content in contents) or all(c in value for c in contents)


def values(text: str) -> Any:
    """JSON text as values, numbers as they are spelt."""
    return json.loads(text, parse_float=WrittenFloat)
