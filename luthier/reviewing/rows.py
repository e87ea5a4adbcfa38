"""The rows under review: found by number, read from disk when somebody looks at them.

In memory stay some bytes a row (its id, its place, what it is filtered by); texts are read a
Parquet row group at a time.
"""

from __future__ import annotations

import json
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from luthier.artifacts import as_example
from luthier.data.decisions import copies_of
from luthier.errors import RunError
from luthier.example import SPLITS, Example, Message, Origin

_GROUPS = 4
"""Row groups that stay in memory: those one reads, and those around."""
_LOOKED_AT = 200
"""First rows by which it is told which columns hold numbers."""
_SCORES = ("score", "rating", "judge", "reward", "quality")
"""In names of columns: texts that are numbers are numbers there (CSV has texts alone)."""
LEFT_OUT = "left out"
"""In place of a split, of rows that are in none."""


class UnderReview(NamedTuple):
    """One row as the data has it."""

    example: Example
    reason: str
    """Why it was left out; empty where it was not."""
    copies: int
    """Rows that say the same, which share its decision."""
    known: bool
    """Whether it has an id, and can be decided about."""


class Names:
    """Texts that many rows share, numbered in the order in which they come."""

    def __init__(self) -> None:
        """Begin empty."""
        self.names: list[str] = []
        self.numbers: dict[str, int] = {}

    def number(self, name: str | None) -> int:
        """The number of a text; -1 of None."""
        if name is None:
            return -1
        if name not in self.numbers:
            self.numbers[name] = len(self.names)
            self.names.append(name)
        return self.numbers[name]


class ParquetRows:
    """Rows of a Parquet file as a build writes them.

    Args:
        file: a path, or a file that is open.
        name: what it is called in messages.

    Raises:
        RunError: it is missing or damaged.
    """

    def __init__(self, file: Path | IO[bytes], name: str) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.name = name
        self._errors = (OSError, pa.ArrowException, KeyError, TypeError, ValueError)
        with self._explained():
            self._file = pq.ParquetFile(file, page_checksum_verification=True)
        self._starts = [0]
        for group in range(self._file.num_row_groups):
            rows = self._file.metadata.row_group(group).num_rows
            self._starts.append(self._starts[-1] + rows)
        self._read: OrderedDict[int, Any] = OrderedDict()

    def __len__(self) -> int:
        return self._starts[-1]

    def columns(self, names: Sequence[str]) -> Iterator[dict[str, list[Any]]]:
        """Some columns, a row group at a time."""
        there = [name for name in names if name in self._file.schema_arrow.names]
        for group in range(self._file.num_row_groups):
            with self._explained():
                table = self._file.read_row_group(group, columns=there)
                found = table.to_pydict()
            yield {name: found.get(name, [None] * table.num_rows) for name in names}

    def __getitem__(self, place: int) -> Example:
        import bisect

        group = bisect.bisect_right(self._starts, place) - 1
        with self._explained():
            if group not in self._read:
                self._read[group] = self._file.read_row_group(group)
                if len(self._read) > _GROUPS:
                    self._read.popitem(last=False)
            self._read.move_to_end(group)
            [row] = self._read[group].slice(place - self._starts[group], 1).to_pylist()
            return as_example(row)

    def containing(self, text: str) -> Iterator[int]:
        """Places of the rows that say a text somewhere, whatever its case."""
        import pyarrow.compute as pc

        for group, start in enumerate(self._starts[:-1]):
            with self._explained():
                table = self._file.read_row_group(group, columns=["text", "messages"])
            found: set[int] = set()
            for chunk, first in _chunks(table["messages"]):
                said = pc.struct_field(pc.list_flatten(chunk), "content")
                parents = pc.list_parent_indices(chunk)
                hits = pc.match_substring(said, text, ignore_case=True)
                found.update(first + n for n in pc.unique(parents.filter(hits)).to_pylist())
            for chunk, first in _chunks(table["text"]):
                hits = pc.fill_null(pc.match_substring(chunk, text, ignore_case=True), False)
                found.update(first + n for n in pc.indices_nonzero(hits).to_pylist())
            yield from (start + n for n in sorted(found))

    def _explained(self) -> _Explained:
        return _Explained(self.name, self._errors)


class _Explained:
    def __init__(self, name: str, errors: tuple[type[Exception], ...]) -> None:
        self.name, self.errors = name, errors

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, self.errors):
            said = str(error).split("\n")[0]
            raise RunError(f"{self.name} cannot be read: {said}. Build it again.") from None


def _chunks(column: Any) -> Iterator[tuple[Any, int]]:
    first = 0
    for chunk in column.chunks:
        yield chunk, first
        first += len(chunk)


class RejectRows:
    """Rows that were left out, from their file."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        """Find where the lines begin.

        Args:
            file: open; lines of JSON as a build writes them.
            name: what it is called in messages.
        """
        self.name, self._file = name, file
        self._starts = array("q")
        start = 0
        for line in file:
            if line.strip():
                self._starts.append(start)
            start += len(line)

    def __len__(self) -> int:
        return len(self._starts)

    def entries(self) -> Iterator[dict[str, Any]]:
        """All of them in order."""
        return (self.entry(place) for place in range(len(self)))

    def entry(self, place: int) -> dict[str, Any]:
        """One of them; a line that is damaged says so."""
        self._file.seek(self._starts[place])
        try:
            found = json.loads(self._file.readline())
            found["origin"], found["reason"], found["fields"]
            return dict(found)
        except (ValueError, KeyError, TypeError):
            return {"origin": self.name, "reason": "damaged: this line cannot be read",
                    "fields": {}}  # fmt: skip

    def containing(self, text: str) -> Iterator[int]:
        """Places of those that say a text somewhere, whatever its case."""
        wanted = text.casefold()
        for place, entry in enumerate(self.entries()):
            said = [*entry["fields"].values(), *entry.get("messages", ()), entry.get("text", "")]
            if any(wanted in str(one).casefold() for one in said):
                yield place


@dataclass
class Rows:
    """All rows of a dataset in their order, those that were left out at the end."""

    parts: list[ParquetRows]
    rejects: RejectRows | None
    built: bool = True
    """Whether a build gave rows that say the same ids of their own."""

    def __post_init__(self) -> None:
        self.ids: list[str] = []
        self.sources, self.labels, self.reasons = Names(), Names(), Names()
        self.source, self.label = array("i"), array("i")
        self.split, self.reason = array("b"), array("i")
        self._lines = array("q")
        self._counted = array("b")
        self._part, self._place = array("b"), array("q")
        for number, part in enumerate(self.parts):
            self._take_part(number, part)
        if self.rejects is not None:
            self._take_rejects(self.rejects)
        self.copies: dict[str, int] = {}
        self._leave_out_copies()
        self.by_id: dict[str, list[int]] = {}
        for index, id in enumerate(self.ids):
            if id:
                self.by_id.setdefault(id, []).append(index)

    def __len__(self) -> int:
        return len(self.ids)

    def _take_part(self, number: int, part: ParquetRows) -> None:
        place = 0
        for found in part.columns(("id", "source", "row", "counted", "label", "split")):
            for id, source, row, counted, label, split in zip(*found.values(), strict=True):
                self._append(id, source, row, counted or "line", label, split, None)
                self._part.append(number)
                self._place.append(place)
                place += 1

    def _append(
        self, id: str, source: str, row: int, counted: str, label: str | None,
        split: str | None, reason: str | None,
    ) -> None:  # fmt: skip
        self.ids.append(id)
        self.source.append(self.sources.number(source))
        self.label.append(self.labels.number(label))
        self.split.append(-1 if split not in SPLITS else SPLITS.index(split))
        self.reason.append(self.reasons.number(reason))
        self._lines.append(row)
        self._counted.append(counted == "line")

    def _take_rejects(self, rejects: RejectRows) -> None:
        for place, entry in enumerate(rejects.entries()):
            origin = origin_of(str(entry["origin"]))
            what = str(entry["reason"]).partition(":")[0]
            self._append(
                str(entry.get("id", "")),
                origin.source,
                origin.row,
                origin.counted,
                None,
                None,
                what,
            )
            self._part.append(-1)
            self._place.append(place)

    def _leave_out_copies(self) -> None:
        """Rows that say the same are one row to decide about."""
        every = dict.fromkeys(self.ids)
        first_of: dict[str, str] = {}
        for id in every if self.built else ():
            for copy in copies_of(id, every):
                first_of[copy] = id
        kept = []
        seen: set[str] = set()
        for index, id in enumerate(self.ids):
            while id in first_of:
                id = first_of[id]
            self.ids[index] = id
            if self._part[index] < 0:
                kept.append(index)  # each has a reason of its own
            elif id in seen:
                self.copies[id] = self.copies.get(id, 0) + 1
            else:
                seen.add(id)
                kept.append(index)
        if len(kept) == len(self.ids):
            return
        self.ids = [self.ids[i] for i in kept]
        for name in ("source", "label", "split", "reason", "_lines", "_counted", "_part", "_place"):
            column = getattr(self, name)
            setattr(self, name, array(column.typecode, (column[i] for i in kept)))

    def where(self, index: int) -> str:
        """File and line of a row."""
        counted = "line" if self._counted[index] else "row"
        source = self.sources.names[self.source[index]]
        return str(Origin(source, self._lines[index], counted))  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> UnderReview:
        id = self.ids[index]
        copies = self.copies.get(id, 0)
        if self._part[index] >= 0:
            example = self.parts[self._part[index]][self._place[index]]
            return UnderReview(example.but(id=id), "", copies, True)
        assert self.rejects is not None
        entry = self.rejects.entry(self._place[index])
        example = Example(
            id=id, origin=origin_of(str(entry["origin"])),
            fields=entry["fields"], text=entry.get("text"), template=entry.get("template"),
            messages=tuple(Message(m["role"], m["content"]) for m in entry.get("messages", ())),
        )  # fmt: skip
        return UnderReview(example, str(entry["reason"]), copies, bool(id))

    def containing(self, text: str) -> set[int]:
        """Numbers of the rows that say a text somewhere, whatever its case."""
        found: dict[tuple[int, int], None] = {}
        for number, part in enumerate(self.parts):
            found.update(((number, place), None) for place in part.containing(text))
        if self.rejects is not None:
            found.update(((-1, place), None) for place in self.rejects.containing(text))
        places = zip(self._part, self._place, strict=True)
        return {index for index, place in enumerate(places) if place in found}

    def number_columns(self) -> list[str]:
        """Columns that hold numbers, those that look like scores first."""
        seen: dict[str, bool] = {}
        for index in range(min(len(self), _LOOKED_AT)):
            for name, value in self[index].example.fields.items():
                if value not in (None, ""):
                    seen[name] = seen.get(name, True) and number_in(name, value) is not None
        found = [name for name, numbers in seen.items() if numbers]
        return sorted(found, key=lambda name: not _like_a_score(name))[:20]

    def numbers(self, name: str) -> Any:
        """The numbers in a column, NaN where there are none: an array (rows,)."""
        import numpy as np

        found = np.full(len(self), np.nan)
        at = {(p, q): i for i, (p, q) in enumerate(zip(self._part, self._place, strict=True))}

        def put(part: int, place: int, fields: Mapping[str, Any]) -> None:
            value = number_in(name, fields.get(name))
            if value is not None and (part, place) in at:
                found[at[part, place]] = value

        for number, part in enumerate(self.parts):
            place = 0
            for group in part.columns(("fields",)):
                for text in group["fields"]:
                    if f'"{name}"' in text:
                        put(number, place, json.loads(text))
                    place += 1
        for place, entry in enumerate(self.rejects.entries() if self.rejects else ()):
            put(-1, place, entry["fields"])
        return found


def _like_a_score(name: str) -> bool:
    return any(word in name.casefold() for word in _SCORES)


def number_in(name: str, value: Any) -> float | None:
    """The number that a column holds; None where it is none."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, str) and _like_a_score(name):
        try:
            return float(value)
        except ValueError:
            return None
    return None


def origin_of(text: str) -> Origin:
    """What `str(origin)` was made from."""
    for joint, counted in ((": row ", "row"), (":", "line")):
        source, found, row = text.rpartition(joint)
        if found and row.isdigit():
            return Origin(source, int(row), counted)  # type: ignore[arg-type]
    return Origin(text, 0)
