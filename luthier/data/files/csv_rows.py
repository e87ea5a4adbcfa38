"""CSV and TSV: every value stays the text that stands in the file.

A blank line is a row with an empty cell where there is one column; elsewhere it is no row, and
counted.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from luthier.data.files.textfile import Damage, open_text
from luthier.data.rows import Reject, Row, Table
from luthier.errors import DataError
from luthier.example import Origin

MAX_FIELD = 2**26
"""Characters in one field; beyond it a quote was opened and never closed."""


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
    """The delimiter under which the wanted columns exist (the usual one if none), and the names."""
    with open_text(path) as file:
        first = next((line for line in file if line.strip()), "")
        lines = list(itertools.chain([first], itertools.islice(file, 20)))
    if not first:
        raise DataError(f"{name}: the file has only blank lines.")
    usual_names = _names(lines, usual)
    delimiter, names = usual, usual_names
    for other in (",", ";", "\t", "|"):
        if names and set(wanted) <= set(names):
            break
        if set(wanted) <= set(found := _names(lines, other)):
            delimiter, names = other, found
    reason = Damage(path, name).reason("".join(names))
    if reason or not names:
        why = reason or "a quote is not closed"
        raise DataError(f"{name}:1: the header cannot be read ({why}).")
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise DataError(f"{name}:1: two columns are named '{twice}'; rename one of them.")
    return delimiter, names


def _names(lines: list[str], delimiter: str) -> list[str]:
    try:
        return next(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error:
        return []


def _csv_rows(path: Path, table: Table, delimiter: str) -> Iterator[Row | Reject]:
    columns, damage = table.columns or [], Damage(path, table.name)
    with open_text(path) as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        header_seen = False
        while True:
            line = reader.line_num + 1
            try:
                record = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if reader.line_num > line or "end of data" in str(error):
                    # The row swallowed those after it: nobody can say where they begin.
                    raise DataError(
                        f"{table.name}:{line}: a quote opened in this row is not closed properly "
                        f'(read on to line {reader.line_num}: {error}). Write " inside a quoted '
                        'field as "".'
                    ) from None
                origin = Origin(table.name, line)
                yield Reject(origin, f"not CSV: {error}", {})
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
            yield _csv_row(record, columns, Origin(table.name, line), damage)


def _csv_row(record: list[str], columns: list[str], origin: Origin, damage: Damage) -> Row | Reject:
    reason = damage.reason("".join(record))
    if len(record) != len(columns):
        found, expected = len(record), len(columns)
        reason = f"wrong number of fields: found {found}, the header has {expected}"
        return Reject(origin, reason, {"record": record})
    fields: dict[str, Any] = dict(zip(columns, record, strict=True))
    return Reject(origin, reason, fields) if reason else Row(origin, fields)
