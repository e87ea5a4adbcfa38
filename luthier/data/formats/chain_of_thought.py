r"""Chain of thought (FLAN): question, answer and explanation, tab-separated, with \n spelt out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from luthier.data.config import SourceConfig
from luthier.data.files import sources
from luthier.data.files.textfile import Damage, open_text, suffix_of
from luthier.data.importing.instructions import (
    ANSWERS,
    each,
    exchange,
    lacking,
    require_choice,
    require_switch,
    text_of,
)
from luthier.data.importing.sample import Sample
from luthier.data.importing.side_columns import said_of, unread
from luthier.data.rows import Reject, Row, Table
from luthier.example import Origin

COLUMNS = ("question", "answer", "explanation")
_EXPLANATIONS = ("explanation", "rationale", "chain_of_thought", "cot")
_READ = (*COLUMNS, *_EXPLANATIONS)
# `\n` of a line break, but not of LaTeX's \neq and the like. Some of its words are also what a
# line begins with: `\ne` is no sign where that line says `e) ...`, `e = ...`, `e^x` or `e-mail`;
# `\ni` is one only between two others, as in `A \ni x`, since "i think" is likelier; `\nless` is
# none.
_BREAK = re.compile(
    r"""\\n(?!
        (?: eq | leq | geq | leqslant | geqslant | eg | ot | otin | mid | exists | abla | orm | u
          | subseteq | supseteq | earrow | warrow | rightarrow | leftarrow | Rightarrow
          | onumber | olimits | oindent | ewcommand | ewline )(?![A-Za-z])
        | e(?![A-Za-z])(?!\s*(?:[=<>).:,;\]'^*/+]|-[A-Za-z]|\Z))
        | (?<=[\s$}]\\n)i(?:\s*\\(?!n)|\s+[A-Za-z](?![A-Za-z']))
    )""",
    re.VERBOSE,
)
EXAMPLE: dict[str, Any] = {
    "question": "Is grass green?", "answer": "yes", "explanation": "Grass has chlorophyll.",
}  # fmt: skip
"""A record of this format."""


def rows(
    table: Table, source: SourceConfig, *, reasoning: bool = True, answers: str = "required"
) -> Iterator[Row | Reject]:
    r"""Rows whose answer is the explanation and then `The answer is ...`, as FLAN v2 writes it.

    (arXiv 2301.13688; google-research/FLAN, flan/v2/templates.py.) In all three columns `\n`
    becomes a line break.

    Args:
        table: the opened file.
        source: what the recipe says of it.
        reasoning: off, the answer alone is to be learned; the explanation stays a field.
        answers: `required` rejects rows without an answer; `optional` keeps them without it.
    """
    require_switch("chain_of_thought", "reasoning", reasoning)
    require_choice("chain_of_thought", "answers", answers, ANSWERS)
    return each(table, lambda row: _row(row, reasoning, answers))


def _row(row: Row, reasoning: bool, answers: str) -> Row:
    asked = text_of(row.fields, ("question",))
    if asked is None:
        raise lacking("question", row.fields)
    answer = text_of(row.fields, ("answer",)) or ""
    why = text_of(row.fields, _EXPLANATIONS) or ""
    asked, answer, why = (_BREAK.sub("\n", text) for text in (asked, answer, why))
    output = answer
    if reasoning and answer.strip():
        stop = "" if answer.rstrip()[-1] in ".!?" else "."
        output = "\n".join([*([why] if why.strip() else []), f"The answer is {answer}{stop}"])
    fields = {
        **row.fields, "question": asked, "answer": answer, "explanation": why,
        "input": asked, "output": output,
    }  # fmt: skip
    return exchange(row, fields, asked, output, answers)


def fits(sample: Sample) -> float:
    """How sure it is that a file is of this format."""
    told = sample.share(
        lambda r: "question" in r and "answer" in r and any(n in r for n in _EXPLANATIONS)
    )
    if told:
        # Without its options or its passage a question is another one.
        return (0.6 if unread(sample, _READ) else 0.97) * told
    cells = sample.cells
    if not cells or _is_header(cells[0]):
        return 0.0
    three = [line for line in cells if len(line) == len(COLUMNS)]
    if len(three) < 0.9 * len(cells):
        return 0.0
    # An answer is short, an explanation a sentence.
    longer = sum(len(why) > len(answer) and " " in why.strip() for _, answer, why in three)
    return 0.94 * longer / len(three) if longer > 0.7 * len(three) else 0.4


def doubt(sample: Sample) -> str:
    """What speaks against it, to be told after the columns; empty: nothing."""
    return said_of(unread(sample, _READ), "chain_of_thought") if sample.has("question") else ""


def open_file(path: Path, name: str) -> Table:
    """Open a TSV file, with the names of its columns in the first line or without.

    Nothing is quoted in it: a cell ends at the tab, whatever stands in it. Files of other kinds
    are opened as always.

    Raises:
        DataError: no such file, empty, of another kind or encoding.
    """
    if suffix_of(path) != ".tsv":
        return sources.open_file(path, name=name)
    sources.require_readable(path, name)
    table = Table(name, iter(()), total=path.stat().st_size)
    table.records = _records(path, table)
    return table


def _records(path: Path, table: Table) -> Iterator[Row | Reject]:
    damage = Damage(path, table.name)
    columns = list(COLUMNS)
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            table.place[0] = file.buffer.tell()  # type: ignore[attr-defined]
            text = line.rstrip("\r\n")
            if not text.strip():
                table.blank_lines += 1
                continue
            cells, origin = text.split("\t"), Origin(table.name, number)
            if number == 1 and _is_header(cells):
                columns = [cell.strip().casefold() for cell in cells]
                continue
            if len(cells) != len(columns):
                expected = f"{len(columns)} ({', '.join(columns)})"
                reason = f"wrong number of fields: found {len(cells)}, expected {expected}"
                yield Reject(origin, reason, {"record": cells})
                continue
            fields: dict[str, Any] = dict(zip(columns, cells, strict=True))
            reason = damage.reason(text) or ""
            yield Reject(origin, reason, fields) if reason else Row(origin, fields)


def _is_header(cells: list[str]) -> bool:
    """Whether a first line names columns."""
    said = [cell.strip().casefold() for cell in cells]
    return "question" in said and "answer" in said
