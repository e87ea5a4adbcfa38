"""What people see goes to stderr, as it is, and says how fast and how long."""

from __future__ import annotations

import io
import re
import subprocess
import sys

import pytest
from rich.console import Console

from luthier import console as consoles
from luthier.console import duration, progress, say, size, table, visible


def seen(
    monkeypatch: pytest.MonkeyPatch, *, terminal: bool = False, width: int = 120
) -> io.StringIO:
    """Let the console write into a buffer."""
    buffer = io.StringIO()
    made = Console(file=buffer, force_terminal=terminal, width=width, highlight=False)
    monkeypatch.setattr(consoles, "console", made)
    return buffer


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (98_000_000, "98.0 MB"), (1.5e9, "1.5 GB"),
     (2e15, "2000.0 TB"), (-1500, "-1.5 kB")],
)  # fmt: skip
def test_sizes(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (3599, "59 min 59 s"),
     (3600, "1 h 00 min"), (7805, "2 h 10 min")],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize("text", ["[bold]x[/bold]", "[/]", "[red", "a [b] c", "\\[x]", "C:\\[a]\\"])
@pytest.mark.parametrize("terminal", [True, False])
def test_markup_in_text_is_not_read(
    monkeypatch: pytest.MonkeyPatch, text: str, terminal: bool
) -> None:
    buffer = seen(monkeypatch, terminal=terminal)
    say(text)
    table(text, [text, "n"], [[text, "1"]])
    with progress(text, total=2) as advance:
        advance(2, note=text)
    assert buffer.getvalue().count(text) >= 5


def test_everything_for_people_goes_to_stderr() -> None:
    code = """
from luthier.console import flush, progress, say, table
say("said")
table("title", ["column"], [["cell"]])
with progress("Working", 3) as advance:
    advance(3)
flush()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout == ""
    for text in ("said", "title", "column", "cell", "Working: 3/3 rows"):
        assert text in done.stderr


def test_long_lines_are_not_broken_in_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = seen(monkeypatch, width=20)
    say("word " * 30)
    assert buffer.getvalue().count("\n") == 1


def test_plain_progress_says_little_and_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 5))
    monkeypatch.setattr(consoles.time, "monotonic", lambda: float(next(clock)))
    buffer = seen(monkeypatch)
    with progress("Reading", total=10, unit="rows") as advance:
        for _ in range(10):
            advance(1, note="loss 0.5")
    lines = buffer.getvalue().splitlines()
    assert lines == [
        "Reading: 3/10 rows, 0.2/s, 35 s left  loss 0.5",
        "Reading: 6/10 rows, 0.2/s, 20 s left  loss 0.5",
        "Reading: 9/10 rows, 0.2/s, 5 s left  loss 0.5",
        "Reading: 10/10 rows, 0.2/s in 50 s  loss 0.5",
    ]


def test_a_terminal_gets_a_bar_with_rate_and_note(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = seen(monkeypatch, terminal=True)
    with progress("Training", total=4, unit="steps") as advance:
        advance(2)
        advance(2, note="loss 0.25")
    shown = buffer.getvalue()
    assert "Training" in shown and "4/4" in shown and "loss 0.25" in shown and "left" in shown


def test_a_long_note_leaves_the_bar_its_room(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = seen(monkeypatch, terminal=True, width=80)
    with progress("Writing", total=4) as advance:
        for _ in range(4):
            advance(1, note="left out 1,234 (too short 600, not novel 400), " * 3)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", buffer.getvalue())
    last = [line for line in plain.replace("\r", "\n").splitlines() if "4/4" in line][-1]
    assert "rows/s" in last and "left 0:00:00" in last and "left out" not in last
    assert "not novel 400" in plain


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_whose_end_nobody_knows(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    buffer = seen(monkeypatch, terminal=terminal)
    with progress("Writing", None) as advance:
        advance(2, "first")
    assert not re.search(r"(?<![\d.,])2/", buffer.getvalue()) and "first" in buffer.getvalue()
    with progress("Writing", None) as advance:
        advance(2)
        advance(1, "then", total=9, about=True)
    assert "3/~9" in buffer.getvalue()
    with progress("Writing", None) as advance:
        advance(2)
        advance(1, "last", total=3)
        advance(0, "after it", total=3)
    assert "3/3" in buffer.getvalue()
    assert buffer.getvalue().count("Writing: 3/3") == (0 if terminal else 1)


@pytest.mark.parametrize("options", [{"total": 0}, {"total": 5, "shown": False}])
def test_progress_can_be_silent(monkeypatch: pytest.MonkeyPatch, options: dict[str, int]) -> None:
    buffer = seen(monkeypatch)
    with progress("x", **options) as advance:  # type: ignore[arg-type]
        advance()
        advance(3, note="n")
    assert buffer.getvalue() == ""


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\tb\n😀 ü\u200d", None), ("\x1b[31m", "\\x1b[31m"), ("\x00\x7f\x9b", "\\x00\\x7f\\x9b"),
     ("a\rb\u202ec", "a\\rb\\u202ec")],
)  # fmt: skip
def test_control_characters_are_spelt_out(
    monkeypatch: pytest.MonkeyPatch, text: str, shown: str | None
) -> None:
    assert visible(text) == (text if shown is None else shown)
    buffer = seen(monkeypatch)
    say(text)
    table(text, ["what", text], [["x", text]])
    assert not set("\x00\x1b\x7f\x9b\r\u202e") & set(buffer.getvalue())


def test_tables_hold_every_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = seen(monkeypatch, width=200)
    table("results", ["system", "accuracy"], [["tuned", "0.91"], ["a very long name " * 3, "0.5"]])
    text = buffer.getvalue()
    for cell in ("results", "system", "accuracy", "tuned", "0.91", "a very long name"):
        assert cell in text


@pytest.mark.parametrize("width", [30, 60])
def test_a_narrow_table_holds_every_cell(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    buffer = seen(monkeypatch, width=width)
    table("sets", ["name", "size"], [["super_natural_instructions", "1,616 tasks of many kinds"]])
    text = buffer.getvalue()
    assert ("super_natural_instructions" in text.split()) == (width == 60)
    assert max(map(len, text.splitlines())) <= width
    letters = [c for c in text if c.isalnum()]
    assert len(letters) == len("setsnamesizesupernaturalinstructions1616tasksofmanykinds")
