"""JSON lists and JSON lines, one object at a time."""

from __future__ import annotations

import json
import re
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
_KEPT = 1 << 20
"""Characters of a stretch that cannot be read which its reject shows, and the most that are taken
for one record where no other follows."""
_MARGIN = 200
"""Characters of the beginning of a line that are remembered, to tell where its record stands."""
_OVERLAP = 4 * _MARGIN
_OPENING = re.compile(r'\{\s*"[^"\\\n]{0,200}"')
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
    """The objects of a JSON list, one by one, from a buffer that holds little more than one.

    What cannot be read is one reject up to where the next record begins. A comma too many at the
    end, or one missing between two objects, costs nothing.
    """
    damage = Damage(path, table.name)
    with open_text(path) as file:
        stream = Buffer(file, table.name)
        stream.skip("[")
        number, sound = 0, ""
        deepest = 0
        while stream.peek() != "]":
            number += 1
            origin = Origin(table.name, number, "row")
            try:
                value, text = stream.value()
                table.place[0] = file.buffer.tell()  # type: ignore[attr-defined]
                after = stream.peek()
                if after not in (",", "]", "{", ""):
                    stream.skip(",")
            except Broken as error:
                stream.back()
                deepest = max(deepest, _indent(stream.before()))
                stretch, more = _passed_over(stream, error, sound, deepest)
                yield Reject(origin, damage.reason(stretch) or error.reason, {"text": stretch})
                if not more:
                    return
                continue
            yield json_row(value, text, origin, damage)
            if isinstance(value, dict):
                sound, deepest = text, 0
            if after == ",":
                stream.step()
        stream.skip("]")
        if stream.peek():
            raise DataError(f"{stream.where()}: text after the end of the list.")


def _indent(before: str) -> int:
    """How deep the record stands that has this before it on its line."""
    # The first one may stand behind the bracket; those below it are then as deep.
    return len(before) - len(before.lstrip(" \t[" if before.strip() == "[" else " \t"))


def _passed_over(stream: Buffer, error: Broken, sound: str, deepest: int) -> tuple[str, bool]:
    """Pass over what cannot be read; its text, and whether the list goes on behind it.

    The next record is on a line that is indented no deeper. Where records share a line, it is also
    what begins with the same key as the one before.

    Raises:
        DataError: no record can be read; or nobody can say how many are lost: the next one cannot
            be found, and this one is neither the only one of its line nor where the file ends.
    """
    if "\n" in sound:  # its bracket stands as deep as it does
        deepest = max(deepest, _indent(sound.rpartition("\n")[2].partition("}")[0]))
    alone = sound and not stream.before().strip(" \t,}")
    until = rf"\n[ \t]{{0,{deepest}}}(?:\}}*[ \t]*,[ \t]*)?(?=\{{|\](?!\s*[,}}]))"
    opening = _OPENING.match(sound) if sound else _OPENING.match(stream.text, stream.at)
    if opening and not alone and not error.at_end:
        until += rf"|\}}\s*,\s*(?={re.escape(opening.group())})"
    stretch, found = stream.pass_over(until)
    others = opening and opening.group() in stretch[1:]
    one = sound and (error.at_end or (alone and not others)) and len(stretch) < _KEPT
    none = not sound and stream.peek() == "]"
    if none or (not found and not one):
        raise error from None
    return stretch, found


class Broken(DataError):
    """What is no JSON, in a file that may go on with some."""

    def __init__(self, name: str, line: int, said: str, at_end: bool) -> None:
        super().__init__(f"{name}:{line}: {said}.")
        self.at_end = at_end
        """Whether the file ends there."""
        if at_end:
            self.reason = f"cut off: the file ends before the list does (line {line})"
        else:
            self.reason = f"not JSON: {said.removeprefix('not valid JSON: ')} (line {line})"


class Buffer:
    """A window on a JSON file that reads on as it is needed."""

    def __init__(self, file: IO[str], name: str) -> None:
        self.file, self.name = file, name
        self.text, self.at, self.line = "", 0, 1
        self.margin = ""
        self.begin: int | None = None

    def where(self) -> str:
        """File and line of the place that is read next."""
        return f"{self.name}:{self._line_of(self.at)}"

    def _line_of(self, at: int) -> int:
        return self.line + self.text.count("\n", 0, at)

    def before(self) -> str:
        """What stands on the line before the place that is read next: its first 200 signs."""
        start = self.text.rfind("\n", 0, self.at) + 1
        margin = "" if start else self.margin
        return (margin + self.text[start : min(self.at, start + _MARGIN)])[:_MARGIN]

    def more(self, size: int = _CHUNK) -> bool:
        """Read on; False at the end of the file."""
        at = self.at
        if self.begin is not None:
            self.at, self.begin = self.begin, 0  # what may be gone back to is kept
        self.margin, self.line = self.before(), self._line_of(self.at)
        piece = self.file.read(size)
        self.text, self.at = self.text[self.at :] + piece, at - self.at
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
        """Pass over a sign that must come next; Broken where it does not."""
        found = self.peek()
        if found != expected:
            what = f"found '{found}'" if found else "the file ends"
            said = f"expected '{expected}', {what}; not valid JSON"
            raise Broken(self.name, self._line_of(self.at), said, not found)
        self.step()

    def step(self) -> None:
        """Pass over the sign that `peek` found."""
        self.at += 1
        self.begin = None

    def back(self) -> None:
        """Go back to where the last value began, until a sign has been skipped."""
        if self.begin is not None:
            self.at, self.begin = self.begin, None

    def value(self) -> tuple[Any, str]:
        """The next value, and the text that it is decoded from.

        Raises:
            Broken: there is none; the place stays where it should begin.
        """
        self.peek()
        self.begin = start = self.at
        size = _CHUNK
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
        said, at = plain(error), self.at
        if isinstance(error, json.JSONDecodeError):
            # The window may have moved on since the error: it counted from `start`.
            at += error.pos - start
            said = error.msg
        rest = self.text.rstrip()
        ended = self._is_cut_off(error) and (at >= len(rest) or not rest.endswith("]"))
        raise Broken(self.name, self._line_of(at), f"not valid JSON: {said}", ended) from None

    def pass_over(self, until: str) -> tuple[str, bool]:
        """Pass over what cannot be read.

        Args:
            until: a pattern, up to whose end.

        Returns:
            The text passed over (its first million characters), and whether the pattern was found.
        """
        pattern, passed = re.compile(until), ""
        while (match := pattern.search(self.text, self.at)) is None:
            # What is found may begin in this piece and end in the next.
            end = max(self.at, len(self.text) - _OVERLAP)
            passed = (passed + self.text[self.at : end])[:_KEPT]
            self.at = end
            if not self.more():
                self.at = len(self.text)
                return (passed + self.text)[:_KEPT], False
        passed = (passed + self.text[self.at : match.end()])[:_KEPT]
        self.at = match.end()
        return passed.rstrip(" \t\r\n,"), True


def plain(error: Exception) -> str:
    """What a decoder says, in a few words."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at column {error.colno}"
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)
