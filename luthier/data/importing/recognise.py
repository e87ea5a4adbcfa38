"""Recognises the format of a file from its content, and says how sure it is.

Every format judges the beginning of the file (`fits`). Nothing is applied in silence: who uses what
was found shows it with its confidence and the first row, and below certainty the user is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from luthier.data.config import SourceConfig
from luthier.data.importing import sample as samples
from luthier.data.importing.sample import Sample
from luthier.data.linting.guess_columns import guess
from luthier.data.rows import Reject, Row, Table
from luthier.errors import DataError
from luthier.example import Origin
from luthier.registry import Registry

FORMATS = Registry("format", "luthier.data.formats")
CERTAIN = 0.9
"""Confidence from which a format is taken without asking."""
GENERIC = ("columns", "text")
"""Formats that fit nearly everything; they stand back behind those that know what they see."""
_GUESSED, _UNKNOWN = 0.6, 0.1
"""Of a table whose columns have names that are often used so, and of one with others."""
_SHOWN = 300
"""Characters of a turn that are shown."""
_ROWS = 10


@dataclass(frozen=True)
class Recognised:
    """In which format a file seems to be."""

    name: str
    """The file, as it is called in messages."""
    format: str
    confidence: float
    """From 0 to 1."""
    why: str
    runner_up: str | None
    """The next best format, with its confidence; None: no other fits at all."""
    sample: str
    """The first row as it would be imported, roles and texts, long ones cut."""
    options: dict[str, Any] = field(default_factory=dict)
    """What the format must be told: the columns of a table."""
    candidates: tuple[tuple[str, float], ...] = ()
    """All formats that fit at all, best first."""
    advice: str = ""
    """Where none fits: what can be done about it."""


def recognise(path: Path, name: str | None = None) -> Recognised:
    """Recognise the format of a file.

    Args:
        path: the file.
        name: what to call it in messages; None: its path.

    Raises:
        DataError: it cannot be read, has no rows, or holds templates instead of rows.
    """
    return judged(samples.take(path, name or str(path)))


def judged(sample: Sample) -> Recognised:
    """Recognise the format of what was looked at.

    Raises:
        DataError: there are no rows in it.
    """
    name = sample.name
    if not sample.records and not sample.cells:
        if sample.trouble is not None:
            raise DataError(
                f"{name}: no record can be read; the first: {sample.trouble.origin}: "
                f"{sample.trouble.reason}."
            )
        raise DataError(f"{name}: there are no rows in it.")
    found = {format: FORMATS.load(format).fits(sample) for format in FORMATS.names()}
    options: dict[str, Any] = {}
    if found["columns"] == 0 and not sample.whole:
        options = _columns(sample)
        found["columns"] = _GUESSED if options else _UNKNOWN
    best = max((c for f, c in found.items() if f not in GENERIC), default=0.0)
    for generic in GENERIC:
        found[generic] = min(found[generic], 1 - best)
    ranked = sorted(((c, f) for f, c in found.items() if c > 0), key=lambda each: -each[0])
    if not ranked:
        raise _unrecognised(sample)
    confidence, format = ranked[0]
    options = options if format == "columns" else {}
    why = _why(sample)
    advice = ""
    if format == "columns":
        unasked = [n for n in FORMATS.load(format).unasked(sample) if n not in options.values()]
        if not options and confidence <= _UNKNOWN:
            advice = _advice(sample)
        elif unasked:
            why += f", and as columns nothing asks what {_listed(unasked)} says"
    elif doubt := getattr(FORMATS.load(format), "doubt", None):
        why += doubt(sample)
    return Recognised(
        name, format, round(confidence, 3), why,
        f"{ranked[1][1]} ({ranked[1][0]:.0%})" if len(ranked) > 1 else None,
        _rendered(sample, format, options), options,
        tuple((f, round(c, 3)) for c, f in ranked), advice,
    )  # fmt: skip


def require(found: Recognised) -> None:
    """Raise a DataError unless the format is certain; it lists the candidates and asks for one."""
    if found.confidence >= CERTAIN:
        return
    if found.advice:
        raise DataError(
            f"{found.name}: no format is known to have such rows: {found.why}. {found.advice} "
            f"Known formats: {', '.join(FORMATS.names())}; if it is one of them, say so with "
            "`format:` or --format."
        )
    listed = ", ".join(f"{name} ({confidence:.0%})" for name, confidence in found.candidates)
    said = "".join(f", {option}: {value}" for option, value in found.options.items())
    options = "".join(f" --option {option}={value}" for option, value in found.options.items())
    raise DataError(
        f"{found.name}: which format is it? {found.why}; that fits {listed}, none for sure. Say "
        f"which, in the recipe e.g. `format: {found.format}{said}`, on the command line "
        f"`--format {found.format}{options}`. As {found.format} its first row is:\n{found.sample}"
    )


def rendered(row: Row | Reject) -> str:
    """A row for people: roles and texts, long ones cut; a reject with its reason."""
    if isinstance(row, Reject):
        place = str(row.origin).removeprefix(row.origin.source).lstrip(": ")
        return f"  {place} is rejected: {row.reason}"
    turns: list[tuple[str, str]]
    if row.messages:
        turns = [(m.role, m.content or f"calls {m.tool_calls}") for m in row.messages]
    elif row.text is not None:
        turns = [("text", row.text)]
    else:
        turns = [(n, str(row.fields[n])) for n in ("input", "output", "text") if n in row.fields]
    return "\n".join(f"  {speaker}: {_cut(text)}" for speaker, text in turns[:6])


def _cut(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _SHOWN else flat[: _SHOWN - 3] + "..."


def _why(sample: Sample) -> str:
    if sample.whole:
        return f"it is one object with the keys {_listed(list(sample.records[0]))}"
    if not sample.records or (sample.cells and sample.suffix == ".tsv"):
        widths = sorted({len(line) for line in sample.cells})
        if len(widths) == 1:
            return f"its first {len(sample.cells)} lines have {widths[0]} cells each"
    keys = [key for key in sample.records[0] if sample.has(key) == 1] if sample.records else []
    count = len(sample.records)
    records = "its only record has" if count == 1 else f"its first {count} records have"
    return f"{records} {_listed(keys)}" if keys else f"{records} no key in common"


def _listed(keys: list[str]) -> str:
    shown = ", ".join(str(key)[:40] for key in keys[:8])
    return shown + (", ..." if len(keys) > 8 else "")


def _columns(sample: Sample) -> dict[str, Any]:
    """The columns that look like question and answer, where they have other names."""
    found = guess(sample.records)
    if found.input is None or found.output is None:
        return {}
    return {"input": found.input, "output": found.output}


def _advice(sample: Sample) -> str:
    """What can be done about rows of no known format."""
    first = sample.records[0] if sample.records else {}
    if len(sample.records) == 1:
        lists = [
            k for k, v in first.items() if isinstance(v, list) and v and isinstance(v[0], dict)
        ]
        if lists:
            return f"Its rows seem to stand in '{lists[0]}'; write that list to a file of its own."
        if len(first) > 1 and all(isinstance(v, dict) for v in first.values()):
            return (
                "Each of its keys seems to hold a whole column; write one object for each row "
                "(pandas: `orient='records', lines=True`)."
            )
    texts = [key for key in first if sample.share(lambda r, k=key: isinstance(r.get(k), str)) > 0.5]  # type: ignore[misc]
    if len(texts) < 2:
        return "One could be written as `messages`: a list of {role, content} for each row."
    return (
        "If two of its columns are a question and its answer, name them, in the recipe "
        "`format: columns, input: NAME, output: NAME`, on the command line "
        "`--format columns --option input=NAME --option output=NAME`."
    )


def _rendered(sample: Sample, format: str, options: dict[str, Any]) -> str:
    """The first row of the sample in a format; the first reject where there is no row."""
    module = FORMATS.load(format)
    records = sample.records
    columns = getattr(module, "COLUMNS", None)
    if sample.cells and columns and not set(columns) <= set(records[0] if records else ()):
        lines = [line for line in sample.cells if len(line) == len(columns)]
        records = [dict(zip(columns, line, strict=True)) for line in lines]
    source = SourceConfig.model_validate({"path": sample.name, **options})

    def stream() -> Iterator[Row | Reject]:
        for number, fields in enumerate(records[:_ROWS], 1):
            yield Row(Origin(sample.name, number, "row"), dict(fields))

    try:
        found = list(islice(module.rows(Table(sample.name, stream()), source), _ROWS))
    except DataError as error:
        return f"  {error}"
    rows = [row for row in found if isinstance(row, Row)]
    first = rows or found
    return rendered(first[0]) if first else "  (no row)"


def _unrecognised(sample: Sample) -> DataError:
    what = "no format knows it"
    if sample.whole:
        what = (
            "it is one JSON object; expected a list of objects, one object a line, or a task of "
            "Natural Instructions"
        )
    return DataError(
        f"{sample.name}: {what} ({_why(sample)}). Known formats: {', '.join(FORMATS.names())}. "
        "If it is one of them, say so with `format:` or --format."
    )
