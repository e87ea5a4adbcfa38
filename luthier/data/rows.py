"""A row of a source, a row that is left out, and a source that has been opened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from luthier.errors import DataError, nearest
from luthier.example import Example, Message, Origin, Terms


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a source, before it becomes an Example."""

    origin: Origin
    fields: dict[str, Any]
    messages: tuple[Message, ...] = ()
    """The conversation, where the row is one; it ends with the assistant's answer."""
    text: str | None = None
    """Plain text for language modelling, where the row is that."""
    tools: str | None = None
    """JSON list of the tools of a conversation."""
    terms: Terms | None = None
    """Where the row itself says on what terms it may be used; None: as its source."""
    built: Example | None = None
    """The row as luthier built it before, where it did; it is taken as it is."""


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that is left out, and why."""

    origin: Origin
    reason: str
    """`what: details`; rejects are counted by what stands before the first colon."""
    fields: dict[str, Any]
    example: Example | None = None
    """The row as it would have been, where it could be shaped: its id names it in a review."""

    @property
    def what(self) -> str:
        """The part of the reason that rejects are counted by."""
        return self.reason.partition(":")[0]


@dataclass
class Table:
    """A source that has been opened: its columns, and its rows as a stream to be read once."""

    name: str
    records: Iterator[Row | Reject]
    columns: list[str] | None = None
    """None where every row has its own (JSON)."""
    total: int = 0
    """Bytes (files) or rows (Parquet) to read; 0: unknown."""
    place: list[int] = field(default_factory=lambda: [0])
    """How many of them have been read."""
    blank_lines: int = 0
    """Lines with nothing in them that were passed over so far; they are no rows."""

    def require(self, wanted: Sequence[str]) -> None:
        """Raise a DataError unless the columns are there."""
        if self.columns is None:
            return
        for column in wanted:
            if column not in self.columns:
                raise MissingColumn(self.name, column, self.columns)


class MissingColumn(DataError):
    """A column that is not there: the nearest one, all of them, and where to name another."""

    def __init__(self, name: str, column: str, columns: Sequence[str], fix: str = "") -> None:
        self.name, self.column, self.columns = name, column, list(columns)
        folded = {c.strip().casefold(): c for c in columns}
        same = folded.get(column.strip().casefold())
        hint = f" Did you mean '{same}'?" if same else nearest(column, columns)
        shown = [repr(c if len(c) <= 40 else c[:37] + "...") for c in self.columns[:30]]
        listed = ", ".join(shown) + (", ..." if len(columns) > 30 else "") or "none"
        super().__init__(
            f"{name}: no column '{column}'.{hint} Columns: {listed}. "
            + (
                fix
                or "Name the right one in the recipe (data.sources: input, output, text or "
                "messages); a file needs a header line."
            )
        )


_KINDS: dict[type, str] = {
    list: "a list", str: "a text", int: "a number", float: "a number", bool: "true or false",
    type(None): "null", dict: "an object", bytes: "binary data",
}  # fmt: skip


def kind_of(value: Any) -> str:
    """What a value is called in messages."""
    exact = _KINDS.get(type(value))
    near = (name for kind, name in _KINDS.items() if isinstance(value, kind))
    return exact or next(near, type(value).__name__)
