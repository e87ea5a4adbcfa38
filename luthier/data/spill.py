"""Rows on disk while a dataset is made of them: written once, read back in order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from json.encoder import encode_basestring
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from luthier.as_written import WrittenFloat, fields_text, json_text
from luthier.data.scratch import Scratch
from luthier.example import Example, Message, Origin, Terms

_CHUNK = 1 << 22
"""Characters of a chunk: what is in memory of the rows."""
_ENCODER = json.JSONEncoder(ensure_ascii=False)
_turn_of = attrgetter("role", "content", "name", "tool_calls", "weight")
_terms_of = attrgetter("licence", "commercial", "generator", "generator_terms")
_DECODER = json.JSONDecoder(parse_float=WrittenFloat, parse_constant=WrittenFloat)


class Spill:
    """Rows and what they ask, compressed on disk.

    Fields come back as JSON holds them: a date as a text, a number as it was written. The file has
    no name and is gone when the spill is closed or the process ends, however it ends.
    """

    def __init__(self, folder: Path) -> None:
        """Begin empty.

        Args:
            folder: on the disk that is to hold the rows; made where it is missing.
        """
        self._file = Scratch(folder)
        self._chunks: list[tuple[Piece, Piece]] = []
        """Rows and questions of each."""
        self._rows: list[str] = []
        self._questions: list[str] = []
        self._characters = 0
        self._count = 0

    def __len__(self) -> int:
        """How many rows there are."""
        return self._count

    def append(self, example: Example, question: str) -> int:
        """Put a row behind the others; returns its number (0, 1, ...).

        Raises:
            RunError: the disk is full or the folder cannot be written.
        """
        self._rows.append(_line(example))
        self._questions.append(encode_basestring(question))
        self._characters += len(self._rows[-1]) + len(question)
        self._count += 1
        if self._characters > _CHUNK:
            self._put()
        return self._count - 1

    def __iter__(self) -> Iterator[tuple[Example, str]]:
        """Rows and what they ask, in order."""
        return zip(self.examples(), self.questions(), strict=True)

    def examples(self) -> Iterator[Example]:
        """The rows, in order."""
        for rows, _ in self._chunks:
            yield from map(_example, self._lines(rows))
        yield from map(_example, list(self._rows))

    def questions(self) -> Iterator[str]:
        """What the rows ask, in order; faster than reading the rows."""
        for _, questions in self._chunks:
            yield from map(json.loads, self._lines(questions))
        yield from map(json.loads, list(self._questions))

    def close(self) -> None:
        """Give the disk space back; nothing can be read any more."""
        self._file.close()

    def _put(self) -> None:
        self._chunks.append((self._packed(self._rows), self._packed(self._questions)))
        self._characters = 0

    def _packed(self, lines: list[str]) -> Piece:
        import pyarrow as pa

        text = "\n".join(lines).encode("utf-8", "surrogatepass")
        lines.clear()
        packed = pa.compress(text, codec="zstd", asbytes=True)
        return Piece(self._file.put(packed), len(packed), len(text))

    def _lines(self, piece: Piece) -> list[str]:
        import pyarrow as pa

        packed = self._file.get(piece.start, piece.size)
        text = pa.decompress(packed, piece.unpacked, codec="zstd", asbytes=True)
        # Line breaks inside a row are escaped; other signs that split lines are not.
        return text.decode("utf-8", "surrogatepass").split("\n")  # type: ignore[no-any-return]


class Piece(NamedTuple):
    """Where a piece of the file is, in bytes."""

    start: int
    size: int
    unpacked: int


def _line(e: Example) -> str:
    head = [
        e.id, e.origin.source, e.origin.row, e.origin.counted, e.text, e.label, e.template,
        e.split, e.group, e.tools, _terms_of(e.terms), e.parents, list(map(_turn_of, e.messages)),
    ]  # fmt: skip
    # The C encoder writes 0.50 as 0.5; only numbers from JSON files remember how they were written.
    fields = (
        json_text(dict(e.fields))
        if any(_has_written(value) for value in e.fields.values())
        else fields_text(e.fields)
    )
    return f"[{_ENCODER.encode(head)}, {fields}]"


def _has_written(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_written, value.values()))
    if isinstance(value, list):
        return any(map(_has_written, value))
    return isinstance(value, WrittenFloat)


def _example(line: str) -> Example:
    head, fields = _DECODER.decode(line)
    id, source, row, counted, text, label, template, split, group, tools, terms, parents, turns = (
        head
    )
    return Example(
        id, Origin(source, row, counted), fields, tuple(map(_message, turns)), text, label,
        template, split, group, tools, Terms(*terms), tuple(parents),
    )  # fmt: skip


def _message(turn: list[Any]) -> Message:
    role, content, name, calls, weight = turn
    return Message(role, content, name, calls, None if weight is None else float(weight))
