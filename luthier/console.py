"""What people see while luthier works: everything human goes to stderr, results go to stdout.

On a terminal, long work shows a bar with rate and ETA; elsewhere (a log file, CI) it prints a
plain line now and then.
"""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

console = Console(stderr=True, highlight=False)
PLAIN_SECONDS = 15.0
"""Seconds between progress lines where there is no terminal."""

Advance = Callable[..., None]


class _Rate(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if not speed else f"{speed:,.1f} {self.unit}/s", style="cyan")


@contextlib.contextmanager
def progress(
    description: str, total: int, unit: str = "rows", *, shown: bool = True
) -> Iterator[Advance]:
    """Show progress of `total` units of work.

    Yields:
        `advance(n, note="")`: n more units are done; the note stands behind the bar.
    """
    if not shown or total <= 0:
        yield lambda n=1, note="": None
    elif console.is_terminal:
        with Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.completed}/{task.total}"),
            _Rate(unit),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
            expand=False,
        ) as bar:
            task = bar.add_task(description, total=total, note="")
            yield lambda n=1, note="": bar.update(task, advance=n, note=note)
    else:
        yield _plain_progress(description, total, unit)


def _plain_progress(description: str, total: int, unit: str) -> Advance:
    started = last = time.monotonic()
    done = 0

    def advance(n: int = 1, note: str = "") -> None:
        nonlocal done, last
        done += n
        now = time.monotonic()
        if now - last < PLAIN_SECONDS and done < total:
            return
        last = now
        rate = done / max(now - started, 1e-9)
        tail = f" in {now - started:.0f} s"
        if done < total:
            tail = f", {(total - done) / rate:.0f} s left" if done else f" after{tail[3:]}"
        tail += f"  {note}" if note else ""
        say(f"{description}: {done}/{total} {unit}, {rate:,.1f}/s{tail}")

    return advance


def say(text: str, style: str = "") -> None:
    """Print a line for people (stderr); the text is shown as it is, markup in it is not read."""
    console.print(Text(visible(text), style=style), soft_wrap=not console.is_terminal)


def blank_lines_skipped(name: str, count: int) -> str:
    """What is said of lines with nothing in them that were not taken for rows."""
    return f"{name}: {count:,} blank {'line' if count == 1 else 'lines'} skipped"


_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    r"""The text with control characters spelt out, as in `\x1b`: they would steer the terminal.

    Tabs and newlines stay. Signs that turn the direction of writing are spelt out too.
    """
    return _CONTROLS.sub(lambda found: ascii(found.group())[1:-1], text)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table for people (stderr): numbers to the right, words to the left."""
    grid = Table(
        title=Text(visible(title)), title_justify="left", header_style="bold", expand=False
    )
    for position, column in enumerate(columns):
        cells = [str(row[position]) for row in rows]
        numbers = position > 0 and all(_NUMBER.match(cell) or not cell for cell in cells)
        grid.add_column(
            Text(visible(column)), justify="right" if numbers else "left", overflow="fold"
        )
    for row in rows:
        grid.add_row(*(Text(visible(str(cell))) for cell in row))
    console.print(grid)


_NUMBER = re.compile(r"[-+−]?\d[\d,.]*\s?(B|kB|MB|GB|TB|s|min|h|%|e-?\d+|\[|\(|$)")


def size(count: float) -> str:
    """Bytes for people: `1.5 GB` (powers of ten)."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def duration(seconds: float) -> str:
    """Seconds for people: `45 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def flush() -> None:
    """Make sure that everything printed is out (before a kill, or an exit by signal)."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
