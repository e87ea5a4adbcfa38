"""The beginning of a file: what formats look at to say whether it is theirs."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from luthier.data.files import sources
from luthier.data.files.textfile import open_text, suffix_of
from luthier.data.rows import Reject, Row
from luthier.errors import DataError

_HEAD = 1 << 16
"""Characters that are looked at."""
RECORDS = 50
"""That are looked at."""
_MOST_CHARACTERS = 1 << 22
"""Of records; larger ones are few, and as telling."""
_PLACEHOLDER = re.compile(r"\{\w+\}")


@dataclass(frozen=True)
class Sample:
    """What a format is recognised by."""

    name: str
    suffix: str
    """Of the file, in small letters, as in `.jsonl`."""
    text: str = ""
    """Its first 65,536 characters; nothing for Parquet."""
    records: list[dict[str, Any]] = field(default_factory=list)
    """Up to 50, those that can be read; of a CSV or TSV under the names in its first line."""
    cells: list[list[str]] = field(default_factory=list)
    """Up to 50 lines of a TSV, its first one among them."""
    whole: bool = False
    """The file is one JSON object; it is the only record, as far as it was read."""
    trouble: Reject | None = None
    """The first record that cannot be read."""

    def share(self, test: Callable[[Mapping[str, Any]], bool]) -> float:
        """The share of the records that pass a test; 0 where there are none."""
        if not self.records:
            return 0.0
        return sum(bool(test(record)) for record in self.records) / len(self.records)

    def has(self, *names: str) -> float:
        """The share of the records that have all of these keys."""
        return self.share(lambda record: all(name in record for name in names))


def has_system(sample: Sample) -> bool:
    """Whether some records have a system message in a column of its own (see `instructions`)."""
    return any(r.get(name) for r in sample.records for name in ("system", "system_prompt"))


def take(path: Path, name: str) -> Sample:
    """Look at the beginning of a file.

    Raises:
        DataError: it is not there, empty, not UTF-8, of another kind, or holds templates.
    """
    refuse_templates(path, name)
    sources.require_readable(path, name)
    suffix = suffix_of(path)
    if suffix == ".parquet":
        return _tabular(path, Sample(name, suffix))
    with open_text(path) as file:
        text = file.read(_HEAD)
    if suffix in (".csv", ".tsv"):
        lines = text.split("\n") if len(text) < _HEAD else text.split("\n")[:-1]
        split = [line.rstrip("\r").split("\t") for line in lines if line.strip()]
        cells = split[:RECORDS] if suffix == ".tsv" else []
        return _tabular(path, Sample(name, suffix, text, cells=cells))
    if suffix == ".json" and (members := _one_object(text)) is not None:
        return Sample(name, suffix, text, [members], whole=True)
    return _tabular(path, Sample(name, suffix, text))


def of_rows(name: str, rows: Iterable[Row | Reject]) -> Sample:
    """What the first rows of a source that is no file look like."""
    records: list[dict[str, Any]] = []
    trouble: Reject | None = None
    for row in rows:
        if isinstance(row, Row):
            records.append(row.fields)
        else:
            trouble = trouble or row
    return Sample(name, "", records=records, trouble=trouble)


def _tabular(path: Path, sample: Sample) -> Sample:
    """The sample with its first records."""
    records: list[dict[str, Any]] = []
    trouble: Reject | None = None
    size = 0
    try:
        table = sources.open_file(path, name=sample.name)
        for row in itertools.islice(table.records, 2 * RECORDS):
            if isinstance(row, Row):
                records.append(row.fields)
                size += len(str(row.fields))
            else:
                trouble = trouble or row
            if len(records) == RECORDS or size > _MOST_CHARACTERS:
                break
    except DataError:
        # A file that is damaged further down is refused by who reads it; this one began well. And
        # what is no table with a header may be one of a format without.
        if not records and not sample.cells:
            raise
    return replace(sample, records=records, trouble=trouble)


def refuse_templates(path: Path, name: str) -> None:
    """Raise a DataError where a file holds templates instead of rows; or is not there."""
    sources.require_file(path, name)
    suffix = suffix_of(path)
    if suffix in (".yaml", ".yml"):
        raise _not_rows(path, name)
    if suffix == ".json":
        with open_text(path) as file:
            members = _one_object(file.read(_HEAD))
        if members is not None and _is_templates(members):
            raise _templates(name, "FLAN templates (pairs of an input and a target)")


def _one_object(text: str) -> dict[str, Any] | None:
    """The members of the object that a file is; None where it is a list, or an object a line.

    The last list is read as far as the text goes.
    """
    text = text.lstrip()
    if text[:1] != "{":
        return None
    first, _, rest = text.partition("\n")
    with contextlib.suppress(ValueError, RecursionError):
        json.loads(first)
        if rest.strip():
            return None
    members = partial_object(text)
    # A single line, or one that is longer than the sample, is one of many unless it tells a task.
    if not rest.strip() and "Definition" not in members and not _is_templates(members):
        return None
    return members


def partial_object(text: str) -> dict[str, Any]:
    """The members of a JSON object whose text may be cut off anywhere."""
    reader = _Reader(text)
    found: dict[str, Any] = {}
    with contextlib.suppress(ValueError, IndexError, RecursionError):
        reader.skip("{")
        while True:
            key = str(reader.value())
            reader.skip(":")
            if reader.peek() == "[":
                reader.elements(found.setdefault(key, []))
            else:
                found[key] = reader.value()
            if reader.peek() == "}":
                break
            reader.skip(",")
    return found


class _Reader:
    """Reads JSON from a text; ValueError or IndexError where it ends too early."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.decoder = json.JSONDecoder()

    def peek(self) -> str:
        while self.text[self.at].isspace():
            self.at += 1
        return self.text[self.at]

    def skip(self, sign: str) -> None:
        if self.peek() != sign:
            raise ValueError(sign)
        self.at += 1

    def value(self) -> Any:
        self.peek()
        value, self.at = self.decoder.raw_decode(self.text, self.at)
        return value

    def elements(self, into: list[Any]) -> None:
        self.skip("[")
        if self.peek() != "]":
            into.append(self.value())
            while self.peek() == ",":
                self.skip(",")
                into.append(self.value())
        self.skip("]")


# --- templates ---------------------------------------------------------------------------------


def _is_templates(members: Mapping[str, Any]) -> bool:
    """Whether an object maps tasks to pairs of patterns, as FLAN's templates do."""
    pairs = [pair for found in members.values() if isinstance(found, list) for pair in found]
    return bool(pairs) and all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(p, str) for p in pair)
        and any(_PLACEHOLDER.search(p) for p in pair)
        for pair in pairs
    )  # fmt: skip


def _not_rows(path: Path, name: str) -> DataError:
    with open_text(path) as file:
        text = file.read(_HEAD)
    if "!Template" in text or re.search(r"^templates:", text, re.MULTILINE):
        return _templates(name, "promptsource templates")
    if re.search(r"^(?:prompt|completion|description):", text, re.MULTILINE):
        return _templates(name, "a template")
    expected = ", ".join(sources.SUFFIXES)
    return DataError(f"{name}: is YAML, which holds no rows; expected one of {expected}.")


def _templates(name: str, what: str) -> DataError:
    return DataError(
        f"{name}: holds {what}, not rows. Give it as data.template, with the rows it is for as "
        "data.sources."
    )
