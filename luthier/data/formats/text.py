"""One column of plain text, for `task.kind: text`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from luthier.data.config import SourceConfig
from luthier.data.mapping import mapped
from luthier.data.rows import Reject, Row, Table, kind_of


def rows(table: Table, source: SourceConfig) -> Iterator[Row | Reject]:
    """Rows with the field `text`, and the other columns under their own names."""
    for row in mapped(table, {"text": source.text}):
        if isinstance(row, Reject):
            yield row
            continue
        text = row.fields["text"]
        if isinstance(text, str):
            yield replace(row, text=text)
        else:
            reason = f"wrong type: column '{source.text}' holds {kind_of(text)}, expected text"
            yield Reject(row.origin, reason, row.fields)
