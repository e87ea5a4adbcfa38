"""`luthier convert`: a file of one format becomes a file of another, a row at a time.

What the target cannot hold is a reject with its reason, in `OUT.rejects.jsonl` beside the result,
together with the rows that could not be imported; nothing is dropped in silence.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from luthier.artifacts import ExampleWriter
from luthier.as_written import json_text
from luthier.atomic import atomic_write
from luthier.console import Advance, progress, say
from luthier.data.config import SourceConfig
from luthier.data.files import sources
from luthier.data.importing.conversation import Unfit, attempt
from luthier.data.importing.outgoing import TASK_LEVEL, lost_ids, lost_in_turns
from luthier.data.importing.recognise import FORMATS, Recognised, recognise, require
from luthier.data.importing.sample import refuse_templates, take
from luthier.data.rejects import RejectLog
from luthier.data.rows import Reject, Row, Table
from luthier.data.templating.template_fields import as_text
from luthier.data.terms import own_terms
from luthier.errors import DataError, unknown
from luthier.example import Example, Message, Terms, content_id

ENDINGS = {
    "alpaca": ".json", "sharegpt": ".json", "super_ni": ".json", "messages": ".jsonl",
    "flan": ".jsonl", "p3": ".jsonl", "parquet": ".parquet",
}  # fmt: skip
"""Formats that can be written, and how their files end."""
_SOURCE_KEYS = ("input", "output", "text", "messages")
"""Options that name columns."""
_BIG = 2_000_000
_STEP = 500


class Conversion(BaseModel):
    """What became of a file."""

    source: str
    out: str
    format: str | None
    """In which it was read; null: it was empty and nobody said."""
    confidence: float
    """1 where the user said the format."""
    why: str
    to: str
    records: int
    """Lines or objects of the file. An importer may make several rows of one (a task with
    instances), or one of several (a conversation of flat messages)."""
    rows_in: int
    """Rows of the importer, unusable ones among them: rows_out + rejected."""
    rows_out: int
    rejected: int
    reasons: dict[str, int]
    """Rejects by reason."""
    rejects_file: str | None
    left_out: list[str]
    """What the source says and the rows of the result do not: fields of a task that stand beside
    all of its instances, keys of turns, as in `conversations[].markdown`, and ids of calls."""
    sample: str
    """The first row, where the format was recognised."""


def convert(
    path: Path,
    out: Path | None = None,
    *,
    to: str,
    format: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Conversion:
    """Convert a file.

    Args:
        path: the file.
        out: where the result goes; None: into the working directory, under the source's name.
        to: one of `ENDINGS`.
        format: the importer; None: it is recognised, and must be certain.
        options: of the importer; `input`, `output`, `text` and `messages` name columns.

    Raises:
        DataError: the file cannot be read or holds no rows, its format is not certain, or an option
            is none of the importer's.
        LuthierError: no such format.
        RunError: the result cannot be written.
    """
    if to not in ENDINGS:
        raise DataError(unknown("format to write", to, ENDINGS))
    sources.require_file(path, str(path))
    out = out or Path(f"{path.stem}.{to}{ENDINGS[to]}")
    if out.exists() and out.samefile(path):
        raise DataError(f"{out}: is the file itself; name another with --out.")
    if path.suffix.lower() in sources.SUFFIXES and path.stat().st_size == 0:
        return _nothing(path, out, to, format)
    found = _format_of(path, format, options)
    table, counting, rows = opened(path, found.format, found.options)
    rejects_path = out.with_name(f"{out.name}.rejects.jsonl")
    log = RejectLog(rejects_path)
    shown = progress(f"Reading {table.name}", table.total, _unit(path), shown=table.total >= _BIG)
    with _only_if_filled(log, rejects_path), shown as advance:
        read = _Read(table, rows, log, advance)
        for reject in _write(read.rows(), to, out):
            log.add(reject)
        advance(table.total - read.place)
    return Conversion(
        source=str(path), out=str(out), format=found.format, confidence=found.confidence,
        why=found.why, to=to, records=counting.count, rows_in=read.count,
        rows_out=read.count - len(log), rejected=len(log), reasons=dict(log.counts.most_common()),
        rejects_file=str(rejects_path) if len(log) else None,
        left_out=read.left_out(to), sample=found.sample,
    )  # fmt: skip


@dataclass
class _Counting:
    """Counts the records of a file as an importer reads them."""

    table: Table
    count: int = 0

    def __post_init__(self) -> None:
        self.table.records = self._through(self.table.records)

    def _through(self, records: Iterator[Row | Reject]) -> Iterator[Row | Reject]:
        for record in records:
            self.count += 1
            yield record


class Opened(NamedTuple):
    """A file that is about to be converted."""

    table: Table
    counting: _Counting
    rows: Iterator[Row | Reject]


@contextlib.contextmanager
def _only_if_filled(log: RejectLog, path: Path) -> Iterator[None]:
    """A file of rejects that is only there where there are some."""
    try:
        with log:
            yield
    finally:
        if not len(log):
            path.unlink(missing_ok=True)


def opened(path: Path, format: str, options: Mapping[str, Any]) -> Opened:
    """Open a file in a format.

    Args:
        path: the file.
        format: an importer.
        options: those it takes, and columns.

    Raises:
        DataError: the file cannot be read, or an option is none of the importer's.
        LuthierError: no such format.
    """
    module = FORMATS.load(format)
    taken = FORMATS.options(format)
    own = {k: v for k, v in options.items() if k in taken}
    sources.require_readable(path, str(path))
    judge = getattr(module, "often_unanswered", None)
    if getattr(module, "OFTEN_UNANSWERED", False) or (judge and judge(take(path, str(path)))):
        # Nothing is trained here: a file of questions is converted as one.
        own.setdefault("answers", "optional")
    columns = {k: v for k, v in options.items() if k in _SOURCE_KEYS and k not in taken}
    for option in options.keys() - own.keys() - columns.keys():
        raise DataError(f"format '{format}': {unknown('option', option, [*taken, *_SOURCE_KEYS])}")
    if columns.get("input", "input") == columns.get("output", "output"):
        raise DataError(f"input and output are both the column '{columns['input']}'.")
    source = SourceConfig.model_validate({"path": str(path), **columns})
    if hasattr(module, "open_file"):
        table = module.open_file(path, str(path))
    else:
        wanted = {"columns": [source.input, source.output], "text": [source.text],
                  "messages": [source.messages]}.get(format, [])  # fmt: skip
        table = sources.open_file(path, name=str(path), wanted=wanted)
    counting = _Counting(table)
    return Opened(table, counting, module.rows(table, source, **own))


def options_of(given: Sequence[str]) -> dict[str, Any]:
    """Options as they are written on the command line, such as `paths=all`.

    Args:
        given: true, false, null and numbers are such; all else is text.

    Raises:
        DataError: one of them has no `=`.
    """
    options = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise DataError(f"--option {text}: expected NAME=VALUE, e.g. paths=all.")
        try:
            options[name.strip()] = json.loads(value)
        except ValueError:
            options[name.strip()] = value.strip()
    return options


def print_conversion(done: Conversion) -> None:
    """Say what became of a file (stderr)."""
    if done.format is None or not done.records:
        say(f"{done.source}: the file is empty; there are no rows in it.", style="yellow")
    elif done.sample:
        sure = f"{done.confidence:.0%} sure: {done.why}"
        say(f"{done.source}: read as {done.format} ({sure}). Its first row:\n{done.sample}")
    say(f"{done.rows_out:,} of {done.rows_in:,} rows written to {done.out} as {done.to}")
    for reason, count in done.reasons.items():
        say(f"  {count:,} rejected: {reason}", style="yellow")
    if done.format and not done.rows_out and "missing field" in done.reasons:
        example = json_text(FORMATS.load(done.format).EXAMPLE)
        say(f"  a record of {done.format} looks like: {example}")
    if done.rejects_file:
        say(f"  each with its reason: {done.rejects_file}", style="yellow")
    if done.left_out:
        say(f"  not in the rows of the result: {', '.join(done.left_out)}", style="yellow")


# --- reading -----------------------------------------------------------------------------------


def _format_of(path: Path, format: str | None, options: Mapping[str, Any] | None) -> Recognised:
    """The format the user said, else the one that was recognised, if that is certain."""
    given = dict(options or {})
    if format is not None:
        FORMATS.load(format)
        refuse_templates(path, str(path))
        return Recognised(str(path), format, 1.0, "as said", None, "", given)
    found = recognise(path)
    require(found)
    return replace(found, options={**found.options, **given})


def _unit(path: Path) -> str:
    return "rows" if path.suffix.lower() == ".parquet" else "bytes"


class _Read:
    """The rows of a file; those that cannot be imported go to the rejects."""

    def __init__(
        self, table: Table, rows: Iterator[Row | Reject], log: RejectLog, advance: Advance
    ) -> None:
        self.table, self.imported, self.log, self.advance = table, rows, log, advance
        self.count = self.place = 0
        self.task_level: set[str] = set()
        self.turn_level: set[str] = set()
        self.ids: dict[bool, set[str]] = {False: set(), True: set()}

    def rows(self) -> Iterator[Row]:
        """The rows that were imported."""
        for row in self.imported:
            self.count += 1
            if self.count % _STEP == 0:
                self.advance(self.table.place[0] - self.place)
                self.place = self.table.place[0]
            if isinstance(row, Reject):
                self.log.add(row)
                continue
            self.task_level.update(name for name in TASK_LEVEL if row.fields.get(name))
            made = attempt(row, _with_messages)
            if isinstance(made, Reject):
                self.log.add(made)
                continue
            self.turn_level |= lost_in_turns(made)
            for matched, names in lost_ids(made):
                self.ids[matched].update(names)
            yield made

    def left_out(self, to: str) -> list[str]:
        """What the fields of rows say and a file of a format does not."""
        if to == "parquet":
            return []
        lost = self.turn_level | self.ids[False]
        lost |= self.task_level if to != "super_ni" else set()
        lost |= self.ids[True] if to != "messages" else set()
        return sorted(lost)


def _with_messages(row: Row) -> Row:
    """Columns say a question and an answer without being a conversation yet.

    Raises:
        Unfit: nothing is asked.
    """
    if row.messages or row.text is not None or "output" not in row.fields:
        return row
    asked, answer = as_text(row.fields.get("input")), as_text(row.fields["output"])
    if not asked.strip():
        raise Unfit("nothing asked: the column of the input is empty (option input names another)")
    return replace(row, messages=(Message("user", asked), Message("assistant", answer)))


# --- writing -----------------------------------------------------------------------------------


def _write(rows: Iterator[Row], to: str, out: Path) -> Iterator[Reject]:
    """Write all rows; yields those that the format cannot hold."""
    if to == "parquet":
        _write_parquet(rows, out)
        return
    with atomic_write(out) as file:
        # Damaged text is rejected on its way in; what a table holds might still be.
        text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="\n")
        try:
            yield from FORMATS.load(to).write(rows, text)
            text.flush()
        finally:
            with contextlib.suppress(OSError):
                text.detach()


def _write_parquet(rows: Iterator[Row], out: Path) -> None:
    """Rows as a build stores them, a row group at a time; it can hold everything."""
    with ExampleWriter(out) as writer:
        for row in rows:
            said = [part for m in row.messages for part in (m.role, m.content, m.tool_calls)]
            terms = own_terms(row.terms, Terms()) if row.terms is not None else Terms()
            writer.write(
                Example(
                    content_id([row.text, *said]), row.origin, row.fields, row.messages, row.text,
                    tools=row.tools, terms=terms,
                )
            )  # fmt: skip


def _nothing(path: Path, out: Path, to: str, format: str | None) -> Conversion:
    """The result for a file without a single byte: no rows."""
    list(_write(iter(()), to, out))
    return Conversion(
        source=str(path), out=str(out), format=format, confidence=1.0 if format else 0.0,
        why="the file is empty", to=to, records=0, rows_in=0, rows_out=0, rejected=0, reasons={},
        rejects_file=None, left_out=[], sample="",
    )  # fmt: skip
