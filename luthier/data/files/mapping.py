"""Columns of a source under the names the rest of luthier uses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from luthier.data.rows import MissingColumn, Reject, Row, Table
from luthier.errors import nearest

_MAX_COLUMNS = 200
"""Different keys of JSON rows that are remembered for messages."""


def mapped(table: Table, wanted: Mapping[str, str]) -> Iterator[Row | Reject]:
    """Rename columns: `{"input": "sentence"}` makes the column `sentence` the field `input`.

    Other columns keep their names; where a mapped field has taken a column's name, the column
    becomes `NAME_column`.

    Raises:
        DataError: no row has the column; names the nearest one and lists all.
    """
    table.require(list(wanted.values()))
    seen: dict[str, None] = {}
    absent = dict.fromkeys(wanted.values())
    objects = False
    for row in table.records:
        if isinstance(row, Reject):
            yield row
            continue
        objects = True
        if absent:
            for column in [c for c in absent if c in row.fields]:
                del absent[column]
        if len(seen) < _MAX_COLUMNS:
            seen.update(dict.fromkeys(row.fields))
        lacking = next((c for c in wanted.values() if c not in row.fields), None)
        if lacking is None:
            yield Row(row.origin, _renamed(row.fields, wanted))
        else:
            listed = ", ".join(map(str, row.fields)) or "nothing"
            hint = nearest(lacking, row.fields)
            reason = f"missing column: no '{lacking}' in this row.{hint} It has {listed}."
            yield Reject(row.origin, reason, row.fields)
    if objects and absent:
        raise MissingColumn(table.name, next(iter(absent)), list(seen))


def _renamed(fields: Mapping[str, Any], wanted: Mapping[str, str]) -> dict[str, Any]:
    renamed = {name: fields[column] for name, column in wanted.items()}
    used = set(wanted.values())
    for column, value in fields.items():
        if column in used:
            continue
        name = column
        while name in renamed or (name != column and name in fields):
            name += "_column"
        renamed[name] = value
    return renamed
