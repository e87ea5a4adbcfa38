"""Two columns: what is asked and what is answered (CSV, TSV, JSON, JSONL, Parquet, hub)."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Iterator

from luthier.data.config import SourceConfig
from luthier.data.mapping import mapped
from luthier.data.rows import Reject, Row, Table, kind_of

_TEXTUAL = (
    str, bool, int, float, type(None), decimal.Decimal, datetime.date, datetime.time,
)  # fmt: skip


def rows(table: Table, source: SourceConfig) -> Iterator[Row | Reject]:
    """Rows with the fields `input` and `output`, and the other columns under their own names."""
    wanted = {"input": source.input, "output": source.output}
    for row in mapped(table, wanted):
        if isinstance(row, Row):
            for name, column in wanted.items():
                value = row.fields[name]
                if not isinstance(value, _TEXTUAL):
                    reason = f"wrong type: column '{column}' holds {kind_of(value)}, expected text"
                    row = Reject(row.origin, reason, row.fields)
                    break
        yield row
