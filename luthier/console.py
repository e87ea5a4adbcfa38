"""What people see while luthier works: everything human goes to stderr, results go to stdout.

On a terminal, long work shows a bar with rate and ETA; elsewhere (a log file, CI) it prints a
plain line now and then.
"""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table
from rich.text import Text

console = Console(stderr=True, highlight=False)
PLAIN_SECONDS = 15.0
"""Seconds between progress lines where there is no terminal."""

Advance = Callable[..., None]


class _Rate(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__(Column(no_wrap=True))
        self.unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if not speed else f"{speed:,.1f} {self.unit}/s", style="cyan")


class _Count(ProgressColumn):
    """How many are done, of how many."""

    def __init__(self) -> None:
        super().__init__(Column(no_wrap=True))

    def render(self, task: Task) -> Text:
        return Text(_of_total(round(task.completed), task.total, about=task.fields["about"]))


class _Bar(Progress):
    """A bar with its note in a line of its own: behind it, it would leave no room for the bar."""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        yield from (Text(f"  {visible(t.fields['note'])}") for t in self.tasks if t.fields["note"])


def _of_total(done: int, total: float | None, *, about: bool) -> str:
    return str(done) if total is None else f"{done}/{'~' if about else ''}{total:.0f}"


@contextlib.contextmanager
def progress(
    description: str, total: int | None, unit: str = "rows", *, shown: bool = True
) -> Iterator[Advance]:
    """Show progress of `total` units of work; None: nobody knows how many there will be.

    Yields:
        `advance(n, note="", total=None, about=False)`: n more units are done, of as many as are
        known by now, or are to be expected (`about`); the note stands below the bar.
    """
    if not shown or (total is not None and total <= 0):
        yield lambda n=1, note="", total=None, about=False: None
    elif console.is_terminal:
        with _Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            _Count(),
            _Rate(unit),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            expand=False,
        ) as bar:
            number = bar.add_task(description, total=total, note="", about=False)
            [task] = bar.tasks

            def advance(
                n: int = 1, note: str = "", total: int | None = None, about: bool = False
            ) -> None:
                if total is not None:
                    task.total = total  # `update` would forget how fast it went so far
                bar.update(number, advance=n, note=note, about=about)

            yield advance
    else:
        with _plain_progress(description, total, unit) as plain:
            yield plain


@contextlib.contextmanager
def _plain_progress(description: str, known: int | None, unit: str) -> Iterator[Advance]:
    started = last = time.monotonic()
    done, said, guessed, latest = 0, 0, known is None, ""

    def tell(now: float) -> None:
        nonlocal last, said
        last, said = now, done
        rate = done / max(now - started, 1e-9)
        tail = f" in {now - started:.0f} s"
        if known is not None and done < known:
            tail = f", {(known - done) / rate:.0f} s left" if done else f" after{tail[3:]}"
        tail += f"  {latest}" if latest else ""
        of = _of_total(done, known, about=guessed)
        say(f"{description}: {of} {unit}, {rate:,.1f}/s{tail}")

    def advance(n: int = 1, note: str = "", total: int | None = None, about: bool = False) -> None:
        nonlocal done, known, guessed, latest
        done, latest = done + n, note
        if total is not None:
            known, guessed = total, about
        now = time.monotonic()
        is_end = n > 0 and not guessed and known is not None and done - n < known <= done
        if is_end or now - last >= PLAIN_SECONDS:
            tell(now)

    yield advance
    if guessed and done > said:
        tell(time.monotonic())


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
        # Names are there to be copied: the other columns are folded first.
        longest = max(map(len, cells), default=0)
        whole = position == 0 and longest <= min(_NAME, console.width // 2)
        grid.add_column(
            Text(visible(column)), justify="right" if numbers else "left", overflow="fold",
            no_wrap=whole,
        )  # fmt: skip
    for row in rows:
        grid.add_row(*(Text(visible(str(cell))) for cell in row))
    console.print(grid)


_NAME = 30
"""Characters of a first column that are kept on one line, where that leaves room for others."""
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
