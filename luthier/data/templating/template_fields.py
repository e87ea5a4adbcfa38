"""Texts with `{field}` in them: which fields they name, and filling them in.

`{name}` inserts a field; `{{` and `}}` stand for braces. Text is inserted once: braces inside a
field stay what they are.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

from luthier.as_written import json_text

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class MissingField(Exception):
    """A row has no field for a placeholder; its first argument is the placeholder."""


class Skipped(Exception):
    """A template gives a row nothing to learn; its argument is the reason, `what: details`."""


def as_text(value: Any) -> str:
    """A field as it stands in a prompt: text as it is, null as nothing, the rest as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, (bool, list, dict)):
        return json_text(value)
    return str(value)


def placeholders(text: str) -> list[str]:
    """Names between braces, in order of appearance, as often as they appear."""
    return [name for _, name in _pieces(text) if name]


@lru_cache(maxsize=256)
def _pieces(text: str) -> tuple[tuple[str, str | None], ...]:
    """Words, each with the placeholder behind them (None: there is none); a template is read once.

    Braces that are written twice are one in the words.
    """
    found: list[tuple[str, str | None]] = []
    words, start = "", 0
    for match in _PIECE.finditer(text):
        words += text[start : match.start()]
        start = match.end()
        name = match.group(1)
        if name is None:
            words += match.group()[0]
        else:
            found.append((words, name))
            words = ""
    return (*found, (words + text[start:], None))


def stray_brace(text: str) -> str | None:
    """The first brace that is neither of a placeholder nor written twice; None: all is well."""
    for match in _PIECE.finditer(text):
        if match.group() in ("{", "}") or match.group(1) == "":
            return match.group()
    return None


def only_placeholder(text: str) -> str | None:
    """The name in a text that is one placeholder and nothing else; None for any other text."""
    match = _PIECE.fullmatch(text.strip())
    return match.group(1) if match and match.group(1) else None


def filled(text: str, fields: Mapping[str, Any]) -> str:
    """The text with its fields inserted.

    Raises:
        MissingField: a field that is not there.
    """
    found = []
    for words, name in _pieces(text):
        found.append(words)
        if name is not None:
            if name not in fields:
                raise MissingField(name)
            found.append(as_text(fields[name]))
    return "".join(found)


def without(text: str, names: Collection[str]) -> str:
    """The text without some placeholders and the blank lines around them.

    Between what stands before and behind one there remain as many line breaks as on the side that
    has more of them, or a space where there were only spaces.
    """
    kept, start = [], 0
    for match in _PIECE.finditer(text):
        if match.group(1) in names:
            kept.append(text[start : match.start()])
            start = match.end()
    if not kept:
        return text
    joined = kept[0]
    for piece in [*kept[1:], text[start:]]:
        joined = _closed_up(joined, piece)
    return joined


def _closed_up(before: str, behind: str) -> str:
    left, right = before.rstrip(), behind.lstrip()
    if not left or not right:
        return left + right
    gap, gap_behind = before[len(left) :], behind[: len(behind) - len(right)]
    breaks = max(gap.count("\n"), gap_behind.count("\n"))
    return left + ("\n" * breaks or (gap + gap_behind)[:1]) + right


def replaced(text: str, name: str, words: str) -> str:
    """The text with other words in the place of a field; braces in them are braces.

    Args:
        text: with placeholders.
        name: of the field.
        words: what stands there instead.
    """
    literal = escaped(words)
    return _PIECE.sub(lambda m: literal if m.group(1) == name else m.group(), text)


def escaped(text: str) -> str:
    """A text whose braces are to stand as they are."""
    return text.replace("{", "{{").replace("}", "}}")
