"""Rows of a dataset that luthier has built (`runs/NAME/data/SPLIT.parquet`), word for word."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from luthier.artifacts import as_example
from luthier.data.config import SourceConfig
from luthier.data.importing.sample import Sample
from luthier.data.rows import Reject, Row, Table

EXAMPLE: dict[str, Any] = {
    "id": "00000000000000aa", "source": "rows.csv", "row": 1, "counted": "line",
    "split": "train", "group": None, "template": None, "label": None, "text": None,
    "messages": [
        {"role": "user", "content": "Is grass green?"}, {"role": "assistant", "content": "Yes."}
    ],
    "tools": None, "parents": [], "fields": "{}",
}  # fmt: skip
"""A record of this format."""


def rows(table: Table, source: SourceConfig) -> Iterator[Row | Reject]:
    """Rows as they were built: their words, ids, labels and terms.

    No template is put around them again, whatever the recipe says; shots they were built with stay.
    Their place is the one in this file; by its id a row is found in the dataset it was built in.
    """
    for record in table.records:
        if isinstance(record, Reject):
            yield record
            continue
        try:
            example = as_example(record.fields)
            well = int(example.id, 16) >= 0 and bool(example.messages or example.text is not None)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            well = False
        if not well:
            reason = "not built: the record is no row that luthier wrote"
            yield Reject(record.origin, reason, record.fields)
            continue
        yield replace(
            record,
            fields=dict(example.fields),
            messages=example.messages,
            text=example.text,
            tools=example.tools,
            terms=example.terms,
            built=example.but(origin=record.origin),
        )


def fits(sample: Sample) -> float:
    """How sure it is that a file is of this format."""
    return 0.99 * sample.has("id", "source", "row", "split", "template", "messages", "fields")
