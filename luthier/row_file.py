"""Rows to a CSV or JSONL file that appears whole, by a command that can be killed and repeated.

Finished chunks gather in `OUT.part`. How many rows these are, the byte they end at and a hash of
the items they came from stand in `OUT.progress`; a repeated command cuts off what a kill tore,
makes sure that it is given the same items, and goes on after them.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from luthier.as_written import json_text
from luthier.atomic import atomic_write
from luthier.console import progress, say
from luthier.errors import DataError, RunError

CHUNK = 256
"""Rows made at a time: what is held in memory, and lost at most when killed."""

Item = TypeVar("Item")
Rows = list[dict[str, Any]]


def require_free(out: Path) -> None:
    """Raise a DataError unless `out` can be written, or gone on with."""
    if out.suffix not in (".csv", ".jsonl"):
        raise DataError(f"--out {out}: unknown ending; expected .csv or .jsonl.")
    part, mark = _staged(out)
    # With a mark and no part, the last step of all was left to do.
    if out.exists() and (part.exists() or not mark.exists()):
        raise DataError(f"{out} exists already; delete it or choose another --out.")
    if part.exists() and not mark.exists():
        raise DataError(f"{part} is in the way; delete it or choose another --out.")


def write_rows(
    out: Path,
    items: Iterator[Item],
    make: Callable[[list[Item]], Rows],
    *,
    columns: Sequence[str],
    about: Mapping[str, Any],
    key: Callable[[Item], Any],
    tally: Counter[str],
    total: int = 0,
) -> int:
    """Make a row of every item and write them, going on where an earlier attempt was stopped.

    Args:
        out: a `.csv` or `.jsonl` file for which `require_free` holds.
        items: what rows are made of, from the first one; read a chunk at a time.
        make: makes the rows of a chunk.
        columns: of the CSV file.
        about: plain values on which the rows depend beside the items.
        key: what of an item must be the same in a repeated command (plain values).
        tally: whatever `make` counts; kept with the progress.
        total: how many items there are, where that is known.

    Returns:
        The number of rows in the file.

    Raises:
        DataError: the earlier attempt was at something else.
        RunError: the disk is full or the folder cannot be written; the command can be repeated.
    """
    part, mark = _staged(out)
    state = _begun(out, about)
    digest = hashlib.sha256()

    def watched() -> Iterator[Item]:
        for item in items:
            digest.update(json_text(key(item)).encode() + b"\n")
            yield item

    left = watched()
    for _ in islice(left, state["rows"]):
        pass
    if digest.hexdigest() != state["items"]:
        raise DataError(
            f"{part} was begun with another input; delete it and {mark.name}, or choose another "
            "--out."
        )
    tally.update(state["tally"])
    if out.exists():
        mark.unlink()
        return int(state["rows"])
    if state["rows"]:
        say(f"{part} holds {state['rows']:,} rows already; going on after them")
    _save(mark, state)
    with progress("Predicting", total) as advance:
        advance(state["rows"])
        while chunk := list(islice(left, CHUNK)):
            rows = make(chunk)
            with _explained(out, state):
                _append(part, _text(rows, columns, state, out), state)
            state["rows"] += len(rows)
            state |= {"items": digest.hexdigest(), "tally": dict(tally)}
            _save(mark, state)
            advance(len(rows))
    with _explained(out, state):
        os.replace(part, out)
        mark.unlink()
    return int(state["rows"])


def _text(rows: Rows, columns: Sequence[str], state: Mapping[str, Any], out: Path) -> str:
    if out.suffix == ".jsonl":
        return jsonl_text(rows)
    return csv_text(rows, columns, header=state["rows"] == 0)


def _append(part: Path, text: str, state: dict[str, Any]) -> None:
    """Put a chunk behind those before it, in place of what was torn."""
    with open(part, "ab", buffering=0) as file:
        file.truncate(state["offset"])
        left = memoryview(text.encode())
        while left:
            left = left[file.write(left) :]
        os.fsync(file.fileno())
        state["offset"] = file.tell()


@contextlib.contextmanager
def _explained(out: Path, state: Mapping[str, Any]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{out} cannot be written: {error.strerror}. Mend that and repeat the command; it "
            f"goes on after row {state['rows']:,}."
        ) from error


def csv_text(rows: Rows, columns: Sequence[str], *, header: bool) -> str:
    """Rows as CSV; null is nothing, what is no text is JSON."""
    file = io.StringIO()
    # CRLF, the module's own choice: with it, a lone CR or LF in a cell gets its quotes.
    writer = csv.writer(file)
    if header:
        writer.writerow(columns)
    writer.writerows([_cell(row.get(column)) for column in columns] for row in rows)
    return file.getvalue()


def jsonl_text(rows: Rows) -> str:
    """Rows as JSON lines; numbers are spelt as they came."""
    return "".join(json_text(row) + "\n" for row in rows)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (bool, list, dict)):
        return json_text(value)
    return str(value)


def _staged(out: Path) -> tuple[Path, Path]:
    return out.with_name(f"{out.name}.part"), out.with_name(f"{out.name}.progress")


def _begun(out: Path, about: Mapping[str, Any]) -> dict[str, Any]:
    """How far an earlier attempt got; the beginning where there was none."""
    part, mark = _staged(out)
    fresh = {
        "about": dict(about), "rows": 0, "offset": 0, "tally": {},
        "items": hashlib.sha256().hexdigest(),
    }  # fmt: skip
    if not mark.exists() or not (part.exists() or out.exists()):
        return fresh
    try:
        state: dict[str, Any] = json.loads(mark.read_text(encoding="utf-8"))
        same = state.keys() == fresh.keys() and state["about"] == fresh["about"]
    except (OSError, ValueError, AttributeError):
        same = False
    if not same:
        raise DataError(
            f"{mark} belongs to an attempt with another model, or is damaged; delete it and "
            f"{part.name}, or choose another --out."
        )
    if part.exists() and part.stat().st_size < state["offset"]:
        raise DataError(f"{part} is shorter than {mark.name} says; delete both and repeat.")
    return state


def _save(mark: Path, state: Mapping[str, Any]) -> None:
    with atomic_write(mark) as file:
        file.write(json.dumps(state).encode())
