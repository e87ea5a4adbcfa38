"""Rows of an instruction and its answer: what all formats of that shape decide alike."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from luthier.as_written import json_text
from luthier.data.importing.conversation import Unfit, attempt, parts_of
from luthier.data.rows import Reject, Row, Table, kind_of
from luthier.errors import DataError, nearest
from luthier.example import Message

ANSWERS = ("required", "optional")
SYSTEM = ("system", "system_prompt")
"""Columns that hold the system message of a conversation beside them."""
SIDES = ("chosen", "rejected", "both")
"""Which answers are taken where a label says of each whether it is wanted."""
NO_ANSWER = "no answer: instruction only (format option answers: optional keeps it)"


def each(table: Table, make: Callable[[Row], Row]) -> Iterator[Row | Reject]:
    """Every record of a table as `make` makes it; one that it finds unfit becomes a reject."""
    for row in table.records:
        yield attempt(row, make) if isinstance(row, Row) else row


def require_choice(format: str, option: str, value: Any, choices: Sequence[str]) -> None:
    """Raise a DataError unless an option has one of its values."""
    if value not in choices:
        hint = nearest(str(value), choices)
        listed = ", ".join(choices)
        raise DataError(
            f"format '{format}': {option} is {value!r}, expected one of {listed}.{hint}"
        )


def require_switch(format: str, option: str, value: Any) -> None:
    """Raise a DataError unless an option is true or false."""
    if not isinstance(value, bool):
        raise DataError(f"format '{format}': {option} is {value!r}, expected true or false.")


def truth(value: Any) -> bool | None:
    """A label; None for anything else. CSV spells it as text."""
    if isinstance(value, bool):
        return value
    said = value.strip().casefold() if isinstance(value, str) else None
    return {"true": True, "false": False}.get(said) if said else None


def require_side(name: str, label: bool | None, side: str) -> None:
    """Raise unless an answer with this label is one of those that are taken.

    Args:
        name: the column of the label.
        label: true where the answer is wanted.
        side: one of `SIDES`.

    Raises:
        Unfit: it is an answer of the other side.
    """
    if side == "both" or label == (side == "chosen"):
        return
    what = "not preferred" if side == "chosen" else "preferred"
    other = "rejected" if side == "chosen" else "chosen"
    raise Unfit(
        f"{what}: {name} is {str(label).lower()} (format option side: {other} or both takes it)"
    )


def over(fields: Mapping[str, Any], plain: Mapping[str, Any]) -> dict[str, Any]:
    """Fields with what a format calls so; a column of that name stays as `NAME_column`."""
    kept = {free_name(name, fields): fields[name] for name, value in plain.items()
            if fields.get(name, value) not in (value, None)}  # fmt: skip
    return {**fields, **plain, **kept}


def free_name(name: str, taken: Collection[str]) -> str:
    """`NAME_column`, or what is free of that kind."""
    while name in taken:
        name += "_column"
    return name


def system_of(fields: Mapping[str, Any]) -> str | None:
    """The system message that stands in a column of its own: a text, or text parts (Bedrock).

    Raises:
        Unfit: it is an object, or a list of something else.
    """
    for name in SYSTEM:
        value = fields.get(name)
        text = parts_of(value, name) if isinstance(value, list) else text_of(fields, (name,))
        if text and text.strip():
            return text
    return None


def with_system(messages: Sequence[Message], fields: Mapping[str, Any]) -> tuple[Message, ...]:
    """Messages that begin with what a column says to be the system message, unless they have one.

    Raises:
        Unfit: the column holds no text.
    """
    own = [m for m in messages if m.role == "system"]
    if any(m.content.strip() for m in own):
        return tuple(messages)
    system = system_of(fields)
    if system is None:
        return tuple(messages)
    return (Message("system", system), *(m for m in messages if m.role != "system"))


def named(fields: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The first of several names that a row uses; None: none of them."""
    return next((name for name in names if name in fields), None)


def text_of(fields: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The text under the first of several names that is there; None: none is, or it is null.

    Raises:
        Unfit: it is a list or an object.
    """
    name = named(fields, names)
    return None if name is None else as_answer(fields[name], name)


def as_answer(value: Any, name: str) -> str | None:
    """A value as text: numbers as they were spelt; None stays None.

    Raises:
        Unfit: it is a list or an object.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (list, dict, bytes)):
        raise Unfit(f"wrong type: '{name}' holds {kind_of(value)}, expected text")
    return json_text(value) if isinstance(value, bool) else str(value)


def lacking(name: str, fields: Mapping[str, Any]) -> Unfit:
    """The complaint about a field that is not there."""
    listed = ", ".join(map(str, fields)) or "nothing"
    return Unfit(f"missing field: no '{name}' in this row.{nearest(name, fields)} It has {listed}.")


def joined(*parts: str | None) -> str:
    """Parts of a prompt, those that say something, a blank line between them."""
    return "\n\n".join(part for part in parts if part and part.strip())


def exchange(
    row: Row,
    fields: dict[str, Any],
    asked: str | Sequence[Message],
    answer: str | None,
    answers: str = "required",
) -> Row:
    """A row with its conversation.

    Args:
        row: where it comes from.
        fields: what is kept of it.
        asked: the user's turn, or all turns before the answer.
        answer: empty or None: there is none.
        answers: `optional` keeps rows without an answer; their last turn is the user's.

    Raises:
        Unfit: nothing is asked, or there is no answer.
    """
    turns = (Message("user", asked),) if isinstance(asked, str) else tuple(asked)
    if not turns or not turns[-1].content.strip():
        raise Unfit("nothing asked: instruction and input are empty")
    if answer is not None and answer.strip():
        turns = (*turns, Message("assistant", answer))
    elif answers != "optional":
        raise Unfit(NO_ANSWER)
    return replace(row, fields=fields, messages=turns)
