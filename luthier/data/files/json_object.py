"""A JSON object with one long list in it, whose items are read one by one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from luthier.data.files import json_rows
from luthier.data.files.textfile import Damage, open_text
from luthier.data.rows import Reject, Row, Table
from luthier.errors import DataError
from luthier.example import Origin

_Window = json_rows.Buffer


def open_object(path: Path, name: str, *, streamed: str, one: str) -> Table | None:
    """Open a file that is one object; None where it is something else.

    Args:
        path: a JSON file.
        name: what to call it in messages.
        streamed: key of the list.
        one: under which key a row has its item of the list; under their own it has the others,
            which all rows share.

    Raises:
        DataError: it is an object, and damaged.
    """
    shared: dict[str, Any] = {}
    with open_text(path) as file:
        window = _Window(file, name)
        if window.peek() != "{":
            return None
        found = False
        for key, value, _ in _members(window, streamed):
            found = found or value is _START
            if key != streamed:
                shared[key] = value
        if not found or window.peek():
            return None
    table = Table(name, iter(()), total=path.stat().st_size)
    table.records = _rows(path, table, shared, streamed, one)
    return table


def _rows(
    path: Path, table: Table, shared: dict[str, Any], streamed: str, one: str
) -> Iterator[Row | Reject]:
    damage = Damage(path, table.name)
    numbers = itertools.count(1)
    with open_text(path) as file:
        for key, value, text in _members(_Window(file, table.name), streamed):
            if key != streamed:
                continue
            table.place[0] = file.buffer.tell()  # type: ignore[attr-defined]
            if value is _START:
                continue
            number = next(numbers)
            row = json_rows.json_row(value, text, Origin(table.name, number, "row"), damage)
            yield replace(row, fields={**shared, one: row.fields}) if isinstance(row, Row) else row
    if next(numbers) == 1:
        yield Reject(Origin(table.name, 1, "row"), f"no instances: '{streamed}' is empty", shared)


_START = object()
"""Stands for the beginning of the list, so that one without items is seen too."""


def _members(window: _Window, streamed: str) -> Iterator[tuple[str, Any, str]]:
    """Keys, values and texts of an object; the items of the streamed list one by one."""
    window.skip("{")
    if window.peek() == "}":
        window.skip("}")
        return
    while True:
        where = window.where()
        key, _ = window.value()
        if not isinstance(key, str):
            raise DataError(f"{where}: expected a key in double quotes; not valid JSON.")
        window.skip(":")
        if key == streamed and window.peek() == "[":
            yield key, _START, ""
            window.skip("[")
            while window.peek() != "]":
                yield key, *window.value()
                if window.peek() != "]":
                    window.skip(",")
            window.skip("]")
        else:
            yield key, *window.value()
        if window.peek() == "}":
            break
        window.skip(",")
    window.skip("}")
