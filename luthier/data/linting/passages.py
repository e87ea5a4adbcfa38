"""The texts of a row that its data brought, one by one, and what in them is prose."""

from __future__ import annotations

import re
from typing import NamedTuple

from luthier.data.candidate import Candidate

_FENCED = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_INLINE = re.compile(r"`[^`\n]+`")
_SHOWN = 60
# What code looks like where nobody fenced it in: a statement's end, a call, a definition.
_CODE = re.compile(
    r"```|;\s*$|\{\s*$|^\s*(?:def|class|import|from|function|const|let|var|public|private|return"
    r"|SELECT|INSERT|UPDATE|CREATE|#include|<\?php)\b|\w\(.*\)\s*[;{:]?\s*$|=>|</\w+>|\\begin\{",
    re.MULTILINE,
)


class Passage(NamedTuple):
    """One text of a row."""

    where: str
    """`input`, `answer`, `text`, or `message 3 (user)`."""
    text: str


def passages(row: Candidate) -> list[Passage]:
    """What the data says in a row; the words of a template are not among it."""
    example = row.example
    if not example.messages:
        return [Passage("text", example.text or "")]
    if example.template is not None or len(example.messages) == 2:
        return [Passage("input", row.question), Passage("answer", row.answer)]
    return [
        Passage(f"message {n} ({m.role})", m.content) for n, m in enumerate(example.messages, 1)
    ]


def questions(row: Candidate) -> list[Passage]:
    """What is asked: one text, or the users' turns; nothing in plain text."""
    example = row.example
    if not example.messages:
        return []
    if example.template is not None or len(example.messages) <= 3:
        return [Passage("input", row.question)]
    turns = enumerate(example.messages, 1)
    return [Passage(f"message {n}", m.content) for n, m in turns if m.role == "user"]


def answers(row: Candidate) -> list[Passage]:
    """What the assistant says: one text, or one a turn; nothing in plain text."""
    example = row.example
    if not example.messages:
        return []
    if example.template is not None or len(example.messages) <= 3:
        return [Passage("answer", row.answer)]
    turns = enumerate(example.messages, 1)
    return [Passage(f"message {n}", m.content) for n, m in turns if m.role == "assistant"]


def prose(text: str) -> str:
    """The text without its code: fenced blocks and what stands between backticks."""
    if "`" not in text:
        return text
    return _INLINE.sub(" ", _FENCED.sub(" ", text))


def has_code(text: str) -> bool:
    """Whether some of the text looks like a program, markup or a query."""
    return _CODE.search(text) is not None


def excerpt(text: str, most: int = _SHOWN) -> str:
    """The text on one line, cut to so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 3] + "..."
