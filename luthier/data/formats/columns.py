"""Two columns: what is asked and what is answered (CSV, TSV, JSON, JSONL, Parquet, hub)."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Iterator
from typing import Any

from luthier.data.asked import Asked, mapped_columns
from luthier.data.config import SourceConfig
from luthier.data.files.mapping import mapped
from luthier.data.importing.sample import Sample
from luthier.data.rows import Reject, Row, Table, kind_of

EXAMPLE: dict[str, Any] = {"input": "Is grass green?", "output": "Yes."}
"""A record of this format."""
_ASKING = (
    "prompt", "question", "query", "instruction", "task", "definition", "system", "system_prompt",
    "history", "context",
)  # fmt: skip
"""Columns in which a part of what is asked stands; as columns, rows would be read without it."""
_TEXTUAL = (
    str, bool, int, float, type(None), decimal.Decimal, datetime.date, datetime.time,
)  # fmt: skip


def rows(table: Table, source: SourceConfig) -> Iterator[Row | Reject]:
    """Rows with the fields `input` and `output`, and those that the source's `fields` name.

    The other columns keep their own names.
    """
    wanted = mapped_columns(source)
    return rows_asked(table, Asked(wanted, frozenset(wanted)))


def rows_asked(table: Table, asked: Asked) -> Iterator[Row | Reject]:
    """The same, as far as the templates of the rows ask for it.

    Args:
        table: the opened file.
        asked: the fields that a row must have, and those that must be text.
    """
    for row in mapped(table, asked.required):
        if isinstance(row, Row):
            for name, column in asked.required.items():
                value = row.fields[name]
                if name in asked.printed and not isinstance(value, _TEXTUAL):
                    reason = f"wrong type: column '{column}' holds {kind_of(value)}, expected text"
                    row = Reject(row.origin, reason, row.fields)
                    break
        yield row


def fits(sample: Sample) -> float:
    """How sure it is that a file is of this format, its columns being `input` and `output`."""
    pairs = sample.share(
        lambda r: isinstance(r.get("input"), _TEXTUAL) and isinstance(r.get("output"), _TEXTUAL)
        and "input" in r and "output" in r
    )  # fmt: skip
    return (0.6 if unasked(sample) else 0.9) * pairs


def unasked(sample: Sample) -> list[str]:
    """Columns that seem to hold a part of what is asked, and that stay beside the question."""
    names = dict.fromkeys(name for record in sample.records for name in record)
    return [name for name in names if name.strip().casefold() in _ASKING]
