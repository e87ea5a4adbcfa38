"""What lint found, and how it is printed."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import PurePath
from typing import Literal

from pydantic import BaseModel, ConfigDict

from luthier.console import say
from luthier.example import Origin

Severity = Literal["error", "warning"]
PLACES = 20
"""Places of a finding that are kept."""
SHOWN = 3
"""Places of a finding that are printed."""
WIDTH = 80
"""Characters of a line in a terminal as it opens."""


class Place(BaseModel):
    """A row that shows the defect."""

    where: str
    """`file:line`, or `file: row N`."""
    said: str
    """What is wrong there."""


class LintFinding(BaseModel):
    """One kind of defect, with all its rows."""

    check: str
    """The filter or check that found it; `reader` where a row could not be read."""
    what: str
    """The kind, short and the same in every file."""
    severity: Severity
    """An error makes the data wrong or useless; a warning should be looked at."""
    count: int
    """Rows with it; 1 where it is one fact of the whole set."""
    message: str
    """One sentence."""
    fix: str
    """What to do about it."""
    places: list[Place] = []
    """The first of them."""


class LintReport(BaseModel):
    """What lint found in a file, or in the sources of a recipe."""

    model_config = ConfigDict(protected_namespaces=())

    subject: str
    """The file or recipe."""
    rows: dict[str, int]
    """Rows read per source, unreadable ones included."""
    formats: dict[str, str]
    """Per source the importer it was read with."""
    columns: dict[str, str] = {}
    """Of a bare file: the column that was taken for each field."""
    kind: str
    """What the rows were taken for: classification, generation, chat or text."""
    findings: list[LintFinding]
    """Errors first, then warnings; most rows first."""
    skipped: dict[str, str] = {}
    """Checks that were not made, and why."""
    notes: list[str] = []
    """How the data was understood, where nobody said."""
    seconds: float = 0.0

    @property
    def errors(self) -> list[LintFinding]:
        """Findings that make the data wrong or useless."""
        return [f for f in self.findings if f.severity == "error"]

    @property
    def warnings(self) -> list[LintFinding]:
        """Findings to be looked at."""
        return [f for f in self.findings if f.severity == "warning"]


class Tally:
    """Counts the rows with one kind of defect and keeps the first of them."""

    def __init__(
        self, check: str, what: str, severity: Severity, fix: str, message: str = ""
    ) -> None:
        self.check, self.what, self.severity, self.fix = check, what, severity, fix
        self.message = message
        self.count = 0
        self.places: list[Place] = []

    def add(self, origin: Origin, said: str) -> None:
        """Count a row."""
        self.count += 1
        if len(self.places) < PLACES:
            self.places.append(Place(where=str(origin), said=said))

    def finding(self, message: str = "") -> LintFinding:
        """What was counted."""
        rows = "1 row" if self.count == 1 else f"{self.count:,} rows"
        return LintFinding(
            check=self.check, what=self.what, severity=self.severity, count=self.count,
            message=message or self.message or f"{self.what} in {rows}.", fix=self.fix,
            places=self.places,
        )  # fmt: skip


def ranked(findings: list[LintFinding]) -> list[LintFinding]:
    """Errors first; of each severity those with most rows first."""
    order = {"error": 0, "warning": 1}
    return sorted(findings, key=lambda f: (order[f.severity], -f.count, f.check, f.what))


# --- printing ----------------------------------------------------------------------------------


def print_report(report: LintReport) -> None:
    """Print a report for people (stderr), in lines of at most 80 characters."""
    for line, style in report_lines(report):
        say(line, style)


def _short(text: str, report: LintReport) -> str:
    """A text with files by their names alone, as far as those are different."""
    names = {source: PurePath(source).name for source in report.rows}
    if len(set(names.values())) == len(names):
        for source, name in names.items():
            text = text.replace(source, name)
    return text


def report_lines(report: LintReport) -> Iterator[tuple[str, str]]:
    """The lines of a report, each with its style."""
    for source, count in report.rows.items():
        read = f" ({report.formats[source]})" if source in report.formats else ""
        yield from _wrapped(f"{source}: {count:,} rows{read}, {report.kind}", style="bold")
    for note in report.notes:
        yield from _wrapped(note, indent=2)
    for title, findings, style in (
        ("errors", report.errors, "red"), ("warnings", report.warnings, "yellow"),
    ):  # fmt: skip
        if findings:
            yield f"\n{title}", f"bold {style}"
        for finding in findings:
            yield from _finding_lines(finding, style, report)
    if report.skipped:
        yield "\nnot checked", "bold"
        for reason in dict.fromkeys(report.skipped.values()):
            names = ", ".join(n for n, why in report.skipped.items() if why == reason)
            yield from _wrapped(f"{names}: {reason}", indent=2)
    yield "", ""
    yield from _wrapped(_verdict(report), style=_colour(report))


def _finding_lines(
    finding: LintFinding, style: str, report: LintReport
) -> Iterator[tuple[str, str]]:
    head = _short(f"{finding.check}: {finding.message}", report)
    yield from _wrapped(head, indent=2, style=style)
    for place in finding.places[:SHOWN]:
        yield from _wrapped(_short(f"{place.where}: {place.said}", report), indent=4)
    if finding.count > SHOWN and len(finding.places) > SHOWN:
        yield f"    and {finding.count - SHOWN:,} more", ""
    yield from _wrapped(f"fix: {finding.fix}", indent=4, style="dim")


def _wrapped(text: str, *, indent: int = 0, style: str = "") -> Iterator[tuple[str, str]]:
    space = " " * indent
    for line in textwrap.wrap(
        text, WIDTH, initial_indent=space, subsequent_indent=space + "  ", break_on_hyphens=False
    ):
        yield line, style


def _verdict(report: LintReport) -> str:
    if not report.findings:
        return f"{sum(report.rows.values()):,} rows: nothing found"
    errors, warnings = len(report.errors), len(report.warnings)
    kinds = [
        f"{count} {name}{'' if count == 1 else 's'}"
        for count, name in ((errors, "error"), (warnings, "warning"))
        if count
    ]
    return f"{sum(report.rows.values()):,} rows: " + ", ".join(kinds)


def _colour(report: LintReport) -> str:
    return "red" if report.errors else "yellow" if report.warnings else "green"
