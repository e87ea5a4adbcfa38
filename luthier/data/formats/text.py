"""One column of plain text, for `task.kind: text`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from luthier.data.config import SourceConfig
from luthier.data.files.mapping import mapped
from luthier.data.importing.sample import Sample
from luthier.data.rows import Reject, Row, Table, kind_of

EXAMPLE: dict[str, Any] = {"text": "Grass is green."}
"""A record of this format."""


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


def fits(sample: Sample) -> float:
    """How sure it is that a file is of this format, its column being `text`."""
    texts = sample.share(lambda r: isinstance(r.get("text"), str))
    labelled = sample.share(lambda r: any(name in r for name in ("label", "output", "role")))
    return (0.4 if labelled > 0.5 else 0.9) * texts
