"""InstructWild: instructions from people, mostly without answers, in files with broken lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

from luthier.as_written import WrittenFloat
from luthier.data.config import SourceConfig
from luthier.data.files import json_rows, sources
from luthier.data.files.textfile import Damage, open_text
from luthier.data.formats.alpaca import INPUT, INSTRUCTION, OUTPUT, instruct
from luthier.data.importing.instructions import ANSWERS, each, require_choice
from luthier.data.importing.sample import Sample
from luthier.data.importing.side_columns import CROWDED, said_of, unread
from luthier.data.rows import Reject, Row, Table
from luthier.example import Origin

MOST_LINES = 16
"""Over which one record may be broken."""
_OPEN = "a text that begins in this line ends neither in it nor after it"
EXAMPLE: dict[str, Any] = {
    "instruction": "Is grass green?", "instruction_type": "Open QA", "output": "Yes.",
}  # fmt: skip
"""A record of this format."""
ALSO_READS = ("alpaca",)
"""Formats in whose records its sets are published, too."""
OFTEN_UNANSWERED = True
"""Its files are questions as often as not; a conversion keeps them."""
_READ = (
    *INSTRUCTION, *INPUT, *OUTPUT, "system", "history", "instruction_type", "special_tag",
    "is_classification", "most_similar",
)  # fmt: skip
"""Columns that are read, and those that InstructWild and Self-Instruct have beside a question."""
_DECODER = json.JSONDecoder(
    strict=False,  # a line break inside a text is what breaks a record
    object_pairs_hook=json_rows.object_of,
    parse_float=WrittenFloat,
    parse_constant=WrittenFloat,
)


def rows(
    table: Table, source: SourceConfig, *, answers: str = "required"
) -> Iterator[Row | Reject]:
    """Rows as Alpaca's; `instruction_type`, `special_tag` and other columns stay in `fields`.

    The seeds and the user files have instructions only.

    Args:
        table: the opened file.
        source: what the recipe says of it.
        answers: `required` rejects rows without an output; `optional` keeps them without an answer.
    """
    require_choice("instructwild", "answers", answers, ANSWERS)
    return each(table, lambda row: instruct(row, answers))


def fits(sample: Sample) -> float:
    """How sure it is that a file is of this format."""
    typed = sample.share(
        lambda r: isinstance(r.get("instruction"), str) and "instruction_type" in r
    )
    bare = sample.share(
        lambda r: (
            isinstance(r.get("instruction"), str)
            and not any(
                name in r for name in (*OUTPUT, "input", "instances", "chosen", "definition")
            )
        )
    )
    sure = max(0.97 * typed, 0.93 * bare)
    # A question whose answer stands in a column that is not read is no question without an answer.
    return min(sure, CROWDED) if unread(sample, _READ) else sure


def doubt(sample: Sample) -> str:
    """What speaks against it, to be told after the columns; empty: nothing."""
    return said_of(unread(sample, _READ), "instructwild")


def open_file(path: Path, name: str) -> Table:
    """Open a file whose records may be broken over several lines.

    A line that ends within a text is joined with those after it, up to 16, until they make a
    record; its origin is its first line. A line of another kind that is no JSON (in the published
    files: escapes that JSON does not have) is a reject: what was meant, nobody can say.

    Raises:
        DataError: no such file, empty, of another kind or encoding.
    """
    if path.suffix.lower() not in (".jsonl", ".ndjson"):
        return sources.open_file(path, name=name)
    sources.require_readable(path, name)
    table = Table(name, iter(()), total=path.stat().st_size)
    table.records = _records(path, table)
    return table


def _records(path: Path, table: Table) -> Iterator[Row | Reject]:
    damage = Damage(path, table.name)
    with open_text(path) as file:
        ahead: list[str] = []
        number = 0
        while line := ahead.pop(0) if ahead else file.readline():
            number += 1
            table.place[0] += len(line.encode("utf-8", "surrogateescape"))
            if not line.strip():
                table.blank_lines += 1
                continue
            origin = Origin(table.name, number)
            try:
                value, text, taken = *_decoded(line), 0
            except (ValueError, RecursionError) as error:
                broken = _breaks_off(error)
                found = _joined(line, ahead, file) if broken else None
                if found is None:
                    said = _OPEN if broken else json_rows.plain(error)
                    reason = damage.reason(line) or f"not JSON: {said}"
                    yield Reject(origin, reason, {"line": line.rstrip("\r\n")})
                    continue
                value, text, taken = found
            del ahead[:taken]
            number += taken
            yield json_rows.json_row(value, text, origin, damage)


def _decoded(text: str) -> tuple[Any, str]:
    return json_rows.DECODER.decode(text), text


def _breaks_off(error: Exception) -> bool:
    """Whether a line ends within a text."""
    return isinstance(error, json.JSONDecodeError) and (
        error.msg.startswith("Unterminated") or error.msg.startswith("Invalid control character")
    )


def _joined(line: str, ahead: list[str], file: IO[str]) -> tuple[Any, str, int] | None:
    """A record that a line begins, its text, and how many further lines it takes; None: none."""
    ahead += islice(file, max(0, MOST_LINES - 1 - len(ahead)))
    text = line.rstrip("\r\n")
    for taken, more in enumerate(ahead[: MOST_LINES - 1], 1):
        if _is_record(more):
            return None
        text += "\n" + more.rstrip("\r\n")
        try:
            return _DECODER.decode(text), text, taken
        except (ValueError, RecursionError):
            continue
    return None


def _is_record(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
