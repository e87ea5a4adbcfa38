"""Conversations written down as one text, in which a mark says who speaks next."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from luthier.data.importing.conversation import Unfit, checked
from luthier.data.rows import Row
from luthier.example import Message, Role


def transcribed(
    row: Row,
    text: str,
    marks: re.Pattern[str],
    roles: Mapping[str, Role],
    *,
    marked: str,
    trim: bool,
) -> Row:
    """The row with the turns of a text; what stands before the first is the system message.

    Args:
        row: as the file has it.
        text: the whole conversation.
        marks: its group 1 is the speaker.
        roles: those of the speakers, in small letters.
        marked: what is wrong with a text without a mark.
        trim: cut off what stands before the first question and after the last answer; the field
            `trimmed` says what.

    Raises:
        Unfit: there is no mark, or the turns do not hold together.
    """
    before, turns = spoken(text, marks, roles)
    if not turns:
        raise Unfit(f"no turns: {marked}")
    if before:
        turns.insert(0, Message("system", before))
    found = checked(list(enumerate(turns, 1)), alternating=True, trim=trim)
    fields = row.fields | ({"trimmed": found.trimmed} if found.trimmed else {})
    return replace(row, fields=fields, messages=found.messages)


def spoken(
    text: str, marks: re.Pattern[str], roles: Mapping[str, Role]
) -> tuple[str, list[Message]]:
    """What stands before the first mark, and the turns that marks begin.

    Args:
        text: the whole conversation.
        marks: its group 1 is the speaker.
        roles: those of the speakers, in small letters.
    """
    found: Sequence[re.Match[str]] = list(marks.finditer(text))
    if not found:
        return text.strip(), []
    ends = [mark.start() for mark in found[1:]] + [len(text)]
    turns = [
        Message(roles[mark.group(1).casefold()], text[mark.end() : end].strip())
        for mark, end in zip(found, ends, strict=True)
    ]
    return text[: found[0].start()].strip(), turns
