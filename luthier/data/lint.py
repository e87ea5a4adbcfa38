"""The job of `luthier lint`: every filter and every check over a file or a recipe, as a report.

Nothing is left out or changed. Rows stream through once; what memory holds of a row are counts,
hashes and its place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from luthier.console import progress
from luthier.data.candidate import Candidate, Filter
from luthier.data.config import SourceConfig
from luthier.data.decisions import REVIEW, Reviewed, decisions_file, read_decisions
from luthier.data.linting import reading
from luthier.data.linting.dataset_check import Context, DatasetCheck, Need
from luthier.data.linting.lint_report import LintFinding, LintReport, Place, Severity, Tally, ranked
from luthier.data.linting.reading import Reading
from luthier.data.opening import Opened
from luthier.data.rows import Reject, Row
from luthier.errors import DataError, MissingExtra, ModelError
from luthier.example import Example
from luthier.recipe import Recipe
from luthier.recipe import load as load_recipe
from luthier.registry import Registry
from luthier.run import RUNS

FILTERS = Registry("filter", "luthier.data.filters")
CHECKS = Registry("check", "luthier.data.checks")
RECIPES = (".yaml", ".yml")
BLOCK = 1000
"""Rows that are judged together; some filters read many at once much faster."""
Record = tuple[Row | Reject, Candidate | Reject]
"""A row as it was read, and as it will be seen."""
See = Callable[[str, str, Severity, Place], None]
"""Is given the check, the kind of defect, how bad it is, and the row."""
ON_REQUEST = (
    "decontamination", "judge", "language", "length", "novelty", "perplexity",
    "relevance", "semantic_duplicates",
)  # fmt: skip
"""Filters that need to be told something, or compare all rows with all: only where a recipe names
them."""
_FIRST = ("labels", "empty", "exact_duplicates", "contradiction", "near_duplicates")
_SILENCES = {
    "empty": "*",
    "exact_duplicates": ("near_duplicates", "semantic_duplicates", "novelty"),
    "contradiction": ("near_duplicates", "semantic_duplicates", "novelty"),
    "near_duplicates": ("semantic_duplicates", "novelty"),
}
"""What need not be said of a row any more."""
_READER_FIX = "Correct the row in the file; a build leaves it out."
_BY_DESIGN = ("not preferred", "terms", "other language")
"""Reasons of importers to leave out rows that nothing is wrong with."""
_FLOOD, _FEW = 0.5, 5
"""Share of the rows from which near-duplicates are those of a common instruction."""
_BIG = 2_000_000
"""Bytes or rows of a source from which reading it shows progress."""


def lint(
    path: str | Path,
    *,
    format: str | None = None,
    against: Sequence[str] = (),
    overrides: Sequence[str] = (),
    runs: Path = RUNS,
    see: See | None = None,
) -> LintReport:
    """Look for everything that is known to be wrong with datasets.

    Args:
        path: a data file, or a recipe (.yaml), whose sources are then read.
        format: importer of a data file; None: recognised.
        against: test files that no row may be in, relative to the working directory.
        overrides: `key=value` for a recipe.
        runs: where `model: run:NAME` is looked up.
        see: is told of every row with a defect as it is found; the report keeps the first few.
            Checks of the whole set tell the rows that the report keeps.

    Returns:
        Findings with the rows that show them; nothing is raised for bad rows.

    Raises:
        RecipeError: a recipe that cannot be read.
        DataError: a file that is not there, or of which no row can be told from another.
        LuthierError: no such format.
    """
    started = time.monotonic()
    subject = str(path)
    if Path(subject).suffix.lower() in RECIPES:
        job = _of_recipe(Path(subject), overrides, runs)
    else:
        job = _Job(reading.of_file(subject, format), Context(kind="", labels=()))
        job.skipped |= dict.fromkeys(_needing("model"), "a file alone names no model")
        if job.read.kind == "classification":
            job.skipped |= dict.fromkeys(
                [*_needing("label set"), "labels"], "nobody declared the labels (task.labels)"
            )
    if against:
        job.asked.append(("decontamination", {"against": list(against)}))
    job.told = see
    job.prepare()
    for source in job.read.sources:
        job.take(source)
    report = job.report(subject)
    report.seconds = time.monotonic() - started
    return report


def _of_recipe(path: Path, overrides: Sequence[str], runs: Path) -> _Job:
    from luthier.data.generating.write import earlier_sources
    from luthier.data.intake import options_of

    loaded = load_recipe(path, overrides)
    recipe, root = loaded.recipe, path.parent
    found, unwritten = earlier_sources(recipe, root, runs)
    if not found:
        raise DataError(
            f"{path}: its rows are written by a model ({', '.join(unwritten)}), and are not yet. "
            "Run `luthier generate` first."
        )
    data = recipe.data.model_copy(update={"sources": found})
    recipe = recipe.model_copy(update={"data": data})
    render, positions, why = _renderer(recipe, runs)
    context = Context(
        kind=recipe.task.kind, labels=recipe.labels, renders=render is not None,
        max_seq_length=recipe.train.max_seq_length, positions=positions,
    )  # fmt: skip
    reviewed = None
    if (named := recipe.data.decisions) is not None:
        reviewed = Reviewed(read_decisions(decisions_file(named, root, runs), named))
    job = _Job(reading.of_recipe(recipe, root, render or reading.no_model, reviewed), context)
    for config in recipe.data.filters:
        if getattr(FILTERS.load(config.use), "ASKS", False):
            job.skipped[config.use] = "it asks a model, which only a build does"
        else:
            job.asked.append((config.use, options_of(config, root)))
    job.read.notes += loaded.notes
    job.read.notes += [f"{name}: not written yet, so not looked at" for name in unwritten]
    if why:
        job.skipped |= dict.fromkeys(_needing("model"), why)
    return job


def _renderer(recipe: Recipe, runs: Path) -> tuple[Any, int | None, str]:
    """How rows are rendered, the model's positions, and why rows cannot be rendered."""
    from luthier.chat import Renderer
    from luthier.model import open_config
    from luthier.tokenizer import open_tokenizer

    try:
        renderer = Renderer(open_tokenizer(recipe.model, runs), recipe.train.train_on)
        config = open_config(recipe.model, runs).get_text_config()
    except (ModelError, MissingExtra) as error:
        said = str(error).split("\n")[0]
        return None, None, f"the model '{recipe.model.name}' is not at hand: {said}"
    return renderer.render, getattr(config, "max_position_embeddings", None), ""


def _needing(need: Need) -> list[str]:
    return [name for name in CHECKS.names() if need in CHECKS.load(name).NEEDS]


# --- the pass over the rows --------------------------------------------------------------------


@dataclass
class _Job:
    """One pass over all rows."""

    read: Reading
    context: Context
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Filters that the recipe or the caller names, with their options."""
    skipped: dict[str, str] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    formats: dict[str, str] = field(default_factory=dict)
    tallies: dict[tuple[str, str], Tally] = field(default_factory=dict)
    told: See | None = None
    dropped: int = 0
    """Rows that people dropped (`data.decisions`); a build never sees them."""
    whole: list[LintFinding] = field(default_factory=list)
    """What is wrong with a source as a whole."""
    checks: list[DatasetCheck] = field(default_factory=list)
    _names: list[str] = field(default_factory=list)
    """Filters that run although nobody named them."""
    _filters: dict[str, list[tuple[str, Filter]]] = field(default_factory=dict)
    """Per split."""

    def prepare(self) -> None:
        """Build the checks; what is missing for one is known now."""
        given = self.context
        self.context = Context(
            kind=self.read.kind, labels=given.labels, max_seq_length=given.max_seq_length,
            positions=given.positions, renders=given.renders, splits=self.read.has_splits,
        )  # fmt: skip
        for name in CHECKS.names():
            module = CHECKS.load(name)
            if all(self.context.has(need) for need in module.NEEDS):
                self.checks.append(module.build(self.context))
        named = [use for use, _ in self.asked]
        self._names = [n for n in FILTERS.names() if n not in (*ON_REQUEST, *named, *self.skipped)]
        self._split_filters("train")  # a wrong option is told before anything is read

    def _split_filters(self, split: str) -> list[tuple[str, Filter]]:
        """Filters of the rows of one split: a test row is no duplicate of a training row."""
        if split not in self._filters:
            built = [(n, FILTERS.build(n)) for n in self._names]
            built += [(use, FILTERS.build(use, **options)) for use, options in self.asked]
            order = {name: place for place, name in enumerate(_FIRST)}
            built.sort(key=lambda pair: order.get(pair[0], len(order)))
            self._filters[split] = built
        return self._filters[split]

    def take(self, source: SourceConfig) -> None:
        """Read a source to its end, or to where it cannot be read on."""
        opened = self.read.open(source)
        table = opened.table
        self.rows.setdefault(table.name, 0)
        self.formats[table.name] = opened.format
        unit = "rows" if table.name.endswith(".parquet") else "bytes"
        with progress(f"Reading {table.name}", table.total, unit, shown=table.total >= _BIG) as go:
            place = 0
            for block in _blocks(self._records(opened, source)):
                self._judge(block)
                go(table.place[0] - place)
                place = table.place[0]
            go(table.total - place)
        if table.blank_lines:
            self.read.notes.append(f"{table.name}: {table.blank_lines:,} blank lines")
        self.read.notes += self.read.shape.new_notes()
        if not self.rows[table.name]:
            self._fail(table.name, "no rows", "There are no rows in it.")

    def _records(self, opened: Opened, source: SourceConfig) -> Iterator[Record]:
        name = opened.table.name
        try:
            for record in self.read.shaped(opened, source):
                self.rows[name] += 1
                yield record
        except DataError as error:
            said = str(error).removeprefix(f"{name}: ")
            self._fail(name, "cannot be read on", said)
            return
        try:
            self.read.shape.require_fields_seen(source, name)
        except DataError as error:
            self._fail(name, "missing field", str(error))

    def _fail(self, name: str, what: str, said: str) -> None:
        self.whole.append(
            LintFinding(
                check="reader", what=what, severity="error", count=1,
                message=f"{name}: {what}.", fix="Correct the file; a build stops here.",
                places=[Place(where=name, said=said)],
            )
        )  # fmt: skip

    def _judge(self, block: Sequence[Record]) -> None:
        splits: dict[str, list[Candidate]] = {}
        for raw, found in block:
            if isinstance(found, Reject) or isinstance(raw, Reject):
                reject = found if isinstance(found, Reject) else raw
                assert isinstance(reject, Reject)
                if reject.what == REVIEW:
                    self.dropped += 1
                    continue
                severity: Severity = "warning" if reject.what in _BY_DESIGN else "error"
                self._count("reader", severity, _READER_FIX, reject.reason, reject)
                continue
            splits.setdefault(found.example.split or "train", []).append(found)
            for check in self.checks:
                check.see(found, raw)
        for split, rows in splits.items():
            filters = self._split_filters(split)
            for _, judge in filters:
                if prepare := getattr(judge, "prepare", None):
                    prepare(rows)
            for row in rows:
                self._filter(row, filters)

    def _filter(self, row: Candidate, filters: Iterable[tuple[str, Filter]]) -> None:
        silent: set[str] = set()
        for name, judge in filters:
            if name in silent:
                continue
            try:
                reason = judge(row)
            except DataError:  # it cannot be rendered, which `zero_trained_tokens` says
                continue
            if reason is None:
                if remember := getattr(judge, "remember", None):
                    remember(row)
                continue
            module = FILTERS.load(name)
            severity: Severity = getattr(module, "SEVERITY", "warning")
            self._count(name, severity, getattr(module, "FIX", ""), reason, row.example)
            quiet = _SILENCES.get(name, ())
            if quiet == "*":
                return
            silent.update(quiet)

    def _count(
        self, check: str, severity: Severity, fix: str, reason: str, place: Example | Reject
    ) -> None:
        what, _, said = reason.partition(":")
        key = (check, what)
        if key not in self.tallies:
            self.tallies[key] = Tally(check, what, severity, fix)
        said = said.strip() or what
        self.tallies[key].add(place.origin, said)
        if self.told is not None:
            self.told(check, what, severity, Place(where=str(place.origin), said=said))

    def report(self, subject: str) -> LintReport:
        """Everything that was found."""
        self._leave_out_a_flood()
        if self.dropped:
            self.read.notes.append(f"{self.dropped:,} rows that were dropped in a review left out")
        found = [tally.finding() for tally in self.tallies.values()]
        of_the_set = list(chain.from_iterable(check.findings() for check in self.checks))
        for finding in of_the_set if self.told else ():
            for place in finding.places:
                self.told(finding.check, finding.what, finding.severity, place)  # type: ignore[misc]
        found += of_the_set
        return LintReport(
            subject=subject, rows=self.rows, formats=self.formats, kind=self.read.kind,
            columns=self.read.columns, findings=ranked(self.whole + found), skipped=self.skipped,
            notes=self.read.notes,
        )  # fmt: skip

    def _leave_out_a_flood(self) -> None:
        near = self.tallies.get(("near_duplicates", "near-duplicate"))
        rows = sum(self.rows.values())
        if near is not None and near.count > max(_FLOOD * rows, _FEW):
            del self.tallies["near_duplicates", "near-duplicate"]
            self.skipped["near_duplicates"] = (
                f"{near.count:,} of {rows:,} rows resemble another, as they do where all share a "
                "long instruction"
            )


def _blocks(records: Iterator[Record]) -> Iterator[list[Record]]:
    block: list[Record] = []
    for record in records:
        block.append(record)
        if len(block) == BLOCK:
            yield block
            block = []
    if block:
        yield block
