"""JSON lists and JSON lines, one object at a time."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from luthier.as_written import WrittenFloat
from luthier.data.files.textfile import Damage, open_text, suffix_of
from luthier.data.rows import Reject, Row, Table, kind_of
from luthier.errors import DataError
from luthier.example import Origin

_CHUNK = 1 << 20
_TOLD = 64
"""Lines after which the place in the file is noted, for progress."""
MOST_LEVELS = 100
"""Lists and objects inside each other; a row that is deeper is rejected."""


def open_json(path: Path, name: str) -> Table:
    """A list of objects, or one object a line, whatever the ending says."""
    table = Table(name, iter(()), total=path.stat().st_size)
    with open_text(path) as file:
        first = Buffer(file, name).peek()
    if not first:
        raise DataError(f"{name}: the file has only blank lines.")
    as_list = first == "["
    if not as_list and suffix_of(path) == ".json":
        with open_text(path) as file:
            first = next(line for line in file if line.strip())
        try:
            DECODER.decode(first)
        except (ValueError, RecursionError):
            raise DataError(
                f"{name}:1: expected a list of objects ([{{...}}, ...]) or one object a line; "
                f"found {first.strip()[:40]!r}."
            ) from None
    table.records = _json_list(path, table) if as_list else _json_lines(path, table)
    return table


class _Repeated(dict[str, Any]):
    """An object with a key that occurs twice: one of its values would be lost."""

    key = ""


def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of its keys and values; one with a repeated key knows that."""
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    repeated = _Repeated(found)
    keys = [key for key, _ in pairs]
    repeated.key = next(key for key in keys if keys.count(key) > 1)
    return repeated


DECODER = json.JSONDecoder(
    object_pairs_hook=object_of, parse_float=WrittenFloat, parse_constant=WrittenFloat
)


def _json_lines(path: Path, table: Table) -> Iterator[Row | Reject]:
    damage = Damage(path, table.name)
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if number % _TOLD == 0:
                table.place[0] = file.buffer.tell()  # type: ignore[attr-defined]
            if not line.strip():
                table.blank_lines += 1
                continue
            origin = Origin(table.name, number)
            try:
                value = DECODER.decode(line)
            except (ValueError, RecursionError) as error:
                reason = damage.reason(line) or f"not JSON: {plain(error)}"
                yield Reject(origin, reason, {"line": line.rstrip("\r\n")})
                continue
            yield json_row(value, line, origin, damage)


def json_row(value: Any, text: str, origin: Origin, damage: Damage) -> Row | Reject:
    """A row of what was decoded, or why it is none.

    Args:
        value: what the text stands for.
        text: as it stands in the file.
        origin: where that is.
        damage: judges the text.
    """
    if text.count("[") + text.count("{") > MOST_LEVELS and _levels(value) > MOST_LEVELS:
        deep = f"nested too deeply: more than {MOST_LEVELS} lists and objects inside each other"
        return Reject(origin, deep, {"line": text.rstrip("\r\n")})
    if not isinstance(value, dict):
        return Reject(origin, f"not an object: found {kind_of(value)}", {"value": value})
    if isinstance(value, _Repeated):
        return Reject(origin, f"repeated key: '{value.key}' occurs twice", dict(value))
    reason = damage.reason(text)
    if reason is None and "\\u" in text:
        # Escapes can spell what the text itself cannot hold.
        reasons = (damage.reason(piece) for piece in _strings(value))
        reason = next(filter(None, reasons), None)
    return Reject(origin, reason, value) if reason else Row(origin, value)


def _levels(value: Any) -> int:
    """How many lists and objects stand inside each other."""
    levels, inner = 0, [value]
    while inner := [v for v in inner if isinstance(v, (dict, list))]:
        levels += 1
        inner = [x for v in inner for x in (v.values() if isinstance(v, dict) else v)]
    return levels


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _json_list(path: Path, table: Table) -> Iterator[Row | Reject]:
    """The objects of a JSON list, one by one, from a buffer that holds little more than one."""
    damage = Damage(path, table.name)
    with open_text(path) as file:
        stream = Buffer(file, table.name)
        stream.skip("[")
        if stream.peek() == "]":
            return
        for number in itertools.count(1):
            value, text = stream.value()
            table.place[0] = file.buffer.tell()  # type: ignore[attr-defined]
            yield json_row(value, text, Origin(table.name, number, "row"), damage)
            if stream.peek() == "]":
                break
            stream.skip(",")
        stream.skip("]")
        if stream.peek():
            raise DataError(f"{stream.where()}: text after the end of the list.")


class Buffer:
    """A window on a JSON file that reads on as it is needed."""

    def __init__(self, file: IO[str], name: str) -> None:
        self.file, self.name = file, name
        self.text, self.at, self.line = "", 0, 1

    def where(self) -> str:
        """File and line of the place that is read next."""
        return f"{self.name}:{self.line + self.text.count(chr(10), 0, self.at)}"

    def more(self, size: int = _CHUNK) -> bool:
        """Read on; False at the end of the file."""
        self.line += self.text.count("\n", 0, self.at)
        piece = self.file.read(size)
        self.text, self.at = self.text[self.at :] + piece, 0
        return bool(piece)

    def peek(self) -> str:
        """The next sign that is no white space; empty at the end of the file."""
        while True:
            while self.at < len(self.text) and self.text[self.at].isspace():
                self.at += 1
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def skip(self, expected: str) -> None:
        """Pass over a sign that must come next; DataError where it does not."""
        found = self.peek()
        if found != expected:
            what = f"found '{found}'" if found else "the file ends"
            raise DataError(f"{self.where()}: expected '{expected}', {what}; not valid JSON.")
        self.at += 1

    def value(self) -> tuple[Any, str]:
        """The next value, and the text that it is decoded from; DataError where there is none."""
        self.peek()
        start, size = self.at, _CHUNK
        while True:
            try:
                value, end = DECODER.raw_decode(self.text, self.at)
                length = end - self.at
                # A number or a word may go on in the next piece.
                if end < len(self.text) or not self.more(size):
                    break
            except (ValueError, RecursionError) as error:
                if not self._is_cut_off(error) or not self.more(size):
                    self._fail(error, start)
            start = self.at
            size *= 2
        text = self.text[self.at : self.at + length]
        self.at += length
        return value, text

    def _is_cut_off(self, error: Exception) -> bool:
        """Whether more text may mend it: the error is at the end, or in an open string."""
        return isinstance(error, json.JSONDecodeError) and (
            error.pos > len(self.text) - 16 or error.msg.startswith("Unterminated")
        )

    def _fail(self, error: Exception, start: int) -> None:
        said = plain(error)
        if isinstance(error, json.JSONDecodeError):
            # The window may have moved on since the error: it counted from `start`.
            self.at += error.pos - start
            said = error.msg
        raise DataError(f"{self.where()}: not valid JSON: {said}.") from None


def plain(error: Exception) -> str:
    """What a decoder says, in a few words."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at column {error.colno}"
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)
