"""Records put through an importer: what most tests of formats do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from luthier.data.config import SourceConfig
from luthier.data.rows import Reject, Row, Table
from luthier.example import Origin

SOURCE = SourceConfig(path="rows")


def read(importer: Any, *records: dict[str, Any], **options: Any) -> list[Row | Reject]:
    """All that an importer makes of records."""

    def stream() -> Iterator[Row | Reject]:
        for number, fields in enumerate(records, 1):
            yield Row(Origin("rows", number), fields)

    return list(importer.rows(Table("rows", stream()), SOURCE, **options))


def one(importer: Any, record: dict[str, Any], **options: Any) -> Row:
    """The only row of a record."""
    (row,) = read(importer, record, **options)
    assert isinstance(row, Row), row
    return row


def reason(importer: Any, record: dict[str, Any], **options: Any) -> str:
    """Why a record is rejected."""
    (row,) = read(importer, record, **options)
    assert isinstance(row, Reject), row
    return row.reason
