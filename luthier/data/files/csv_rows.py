"""CSV and TSV: every value stays the text that stands in the file.

A blank line is a row with an empty cell where there is one column; elsewhere it is no row, and
counted.
"""

from __future__ import annotations

import csv
import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from luthier.data.files.textfile import Damage, open_text
from luthier.data.rows import Reject, Row, Table
from luthier.errors import DataError
from luthier.example import Origin

MAX_FIELD = 2**24
"""Characters in one field; beyond it a quote was opened and never closed."""
_HEAD = 20
"""Lines below the header that tell which delimiter a file has."""


def open_csv(path: Path, name: str, wanted: Sequence[str], delimiter: str) -> Table:
    """Open a CSV or TSV file with a header.

    Args:
        path: the file.
        name: what to call it in messages.
        wanted: columns that must exist; they tell a file separated by semicolons, tabs or bars
            from one separated by `delimiter`.
        delimiter: the usual one for this kind of file.

    Raises:
        DataError: no header, or two columns of the same name.
    """
    csv.field_size_limit(MAX_FIELD)
    delimiter, columns = _csv_header(path, name, wanted, delimiter)
    table = Table(name, iter(()), columns, total=path.stat().st_size)
    table.records = _csv_rows(path, table, delimiter)
    return table


def _csv_header(path: Path, name: str, wanted: Sequence[str], usual: str) -> tuple[str, list[str]]:
    """The delimiter, and the names of the columns."""
    with open_text(path) as file:
        first = next((line for line in file if line.strip()), "")
        lines = list(itertools.chain([first], itertools.islice(file, _HEAD)))
    if not first:
        raise DataError(f"{name}: the file has only blank lines.")
    delimiter = _delimiter(lines, wanted, usual)
    names = _names(lines, delimiter)
    reason = Damage(path, name).reason("".join(names))
    if reason or not names:
        why = reason or "a quote is not closed"
        raise DataError(f"{name}:1: the header cannot be read ({why}).")
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise DataError(f"{name}:1: two columns are named '{twice}'; rename one of them.")
    return delimiter, names


def _delimiter(lines: list[str], wanted: Sequence[str], usual: str) -> str:
    """The delimiter under which the wanted columns exist; else the first that makes a table."""
    known = dict.fromkeys((usual, ",", ";", "\t", "|"))
    if wanted:
        fitting = (each for each in known if set(wanted) <= set(_names(lines, each)))
        if found := next(fitting, None):
            return found
    return next((each for each in known if _is_table(lines, each)), usual)


def _is_table(lines: list[str], delimiter: str) -> bool:
    """Whether the beginning of a file has several cells a row, always as many."""
    rows = [row for row in csv.reader(lines, delimiter=delimiter) if row]
    if len(lines) > _HEAD:
        rows = rows[:-1]  # the last one may go on below
    return len({len(row) for row in rows}) == 1 and len(rows[0]) > 1


def _names(lines: list[str], delimiter: str) -> list[str]:
    try:
        return next(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error:
        return []


class _Lines:
    """The lines of a file, those of the record that is being read kept to be read again."""

    def __init__(self, file: Iterator[str]) -> None:
        self._file, self._back = file, deque[str]()
        self.record: list[str] = []
        """Lines of the record so far."""
        self.first = 0
        """The line it begins in, from 1."""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._back.popleft() if self._back else next(self._file)
        self.record.append(line)
        return line

    def begin(self) -> None:
        """The next line begins a record."""
        self.first += max(len(self.record), not self.first)
        self.record = []

    def swallowed(self, delimiter: str, columns: Sequence[str]) -> bool:
        """Whether the lines inside the record are rows themselves."""
        inside = self.record[1:-1]
        return bool(inside) and all(
            len(_names([line], delimiter)) == len(columns) for line in inside
        )

    def keep_first(self) -> str:
        """Read all lines of the record again but the first, which is returned."""
        first, *rest = self.record
        self._back.extendleft(reversed(rest))
        self.record = [first]
        return first


def _csv_rows(path: Path, table: Table, delimiter: str) -> Iterator[Row | Reject]:
    columns, damage = table.columns or [], Damage(path, table.name)
    with open_text(path) as file:
        lines = _Lines(file)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        header_seen = broken = False
        while True:
            lines.begin()
            origin = Origin(table.name, lines.first)
            trouble = ""
            try:
                record = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                record, trouble = [], str(error)
            if header_seen and len(lines.record) > 1:
                if trouble or (len(record) != len(columns) and lines.swallowed(delimiter, columns)):
                    trouble = 'a quote opened in this row is not closed (inside quotes " is "")'
            elif broken and not trouble and lines.record and lines.record[0].count('"') % 2:
                trouble = "a quote that belongs to the broken row above"
            if trouble:
                broken = True
                text = lines.keep_first().rstrip("\r\n")
                yield Reject(origin, f"not CSV: {trouble}", {"line": text})
                continue
            if not record:
                if not header_seen or len(columns) > 1:
                    table.blank_lines += 1
                    continue
                record = [""]  # how many programs write an empty cell where there is one column
            if not header_seen:
                header_seen = True
                continue
            table.place[0] = file.buffer.tell()  # type: ignore[attr-defined]
            row = _csv_row(record, columns, origin, damage)
            broken = broken and isinstance(row, Reject)
            yield row


def _csv_row(record: list[str], columns: list[str], origin: Origin, damage: Damage) -> Row | Reject:
    reason = damage.reason("".join(record))
    if len(record) != len(columns):
        found, expected = len(record), len(columns)
        reason = f"wrong number of fields: found {found}, the header has {expected}"
        return Reject(origin, reason, {"record": record})
    fields: dict[str, Any] = dict(zip(columns, record, strict=True))
    return Reject(origin, reason, fields) if reason else Row(origin, fields)
