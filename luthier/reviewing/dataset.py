"""What can be reviewed: a run, the run of a recipe, or any file of rows."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from luthier.artifacts import DataStats, ExampleWriter
from luthier.console import progress, say
from luthier.data import decisions
from luthier.data.config import SourceConfig
from luthier.data.files import sources
from luthier.data.linting import reading
from luthier.data.rejects import RejectLog
from luthier.data.rows import Reject
from luthier.data.shape import Shape, shape_of
from luthier.data.templating.template import BuiltTemplates
from luthier.data.terms import own_terms
from luthier.errors import DataError, LuthierError, RunError, nearest
from luthier.example import SPLITS
from luthier.recipe import load
from luthier.reviewing.rows import ParquetRows, RejectRows, Rows
from luthier.run import RUNS, Run, list_runs

RECIPES = (".yaml", ".yml")
_BIG = 2_000_000
"""Bytes or rows of a file from which reading it shows progress."""


@dataclass(frozen=True)
class Subject:
    """What is to be reviewed, before anything of it is read."""

    name: str
    """As people call it."""
    decisions: Path
    """Where its decisions go unless another file is named."""
    run: Run | None = None
    file: str | None = None
    """A file of rows; None: the run's."""
    format: str | None = None
    """Importer of the file; None: it is recognised."""


@dataclass
class Dataset:
    """A dataset that has been opened."""

    subject: Subject
    rows: Rows
    shape: Shape
    notes: list[str]
    """How a file was understood, where nobody said."""

    @property
    def kind(self) -> str:
        """classification, generation, chat or text."""
        return self.shape.kind

    @property
    def labels(self) -> list[str]:
        """The closed set of labels; empty unless it is classification."""
        return list(self.shape.labels) if self.kind == "classification" else []


def subject_of(name: str, *, format: str | None = None, runs: Path = RUNS) -> Subject:
    """What a name stands for.

    Args:
        name: a run's folder or name, a recipe, or a file of rows.
        format: importer of a file.
        runs: where runs are found.

    Raises:
        LuthierError: there is nothing of that name, or a format was given for a run.
        RunError: nothing was built of the recipe or in the run.
        RecipeError: the recipe cannot be read.
    """
    path = Path(name)
    if path.suffix.lower() in RECIPES:
        run = Run.of(load(path), runs)
        if not (run.path / "recipe.json").is_file():
            raise RunError(
                f"{name}: nothing has been built of it; run `luthier build {name}` first."
            )
    elif name.startswith(sources.PACKAGED) or (path.suffix.lower() in sources.SUFFIXES):
        file = sources.source_file(SourceConfig(path=name), Path())
        assert file is not None
        sources.require_readable(file, name)
        beside = Path(file.name) if name.startswith(sources.PACKAGED) else path
        return Subject(name, beside.with_name(f"{beside.name}.decisions.jsonl"), None, name, format)
    else:
        try:
            run = Run.open(name, runs)
        except RunError:
            known = [one.name for one in list_runs(runs)]
            beside_it = [p.name for p in path.parent.glob("*")] if path.parent.is_dir() else []
            hint = nearest(name, known) or nearest(path.name, beside_it)
            raise LuthierError(
                f"'{name}' is no run in {runs}/, no recipe (.yaml) and no file of rows "
                f"({', '.join(sources.SUFFIXES)}).{hint}"
            ) from None
    if format is not None:
        raise LuthierError("--format goes with a file of rows; a run knows how it was read.")
    run.require("data")
    return Subject(run.name, run.path / decisions.FILE, run)


@contextlib.contextmanager
def opened(subject: Subject, *, rejects: bool = False) -> Iterator[Dataset]:
    """Open a dataset.

    Args:
        subject: what is to be reviewed.
        rejects: also show the rows that were left out.

    Raises:
        DataError: a file that cannot be read, or without a row.
        RunError: the run's files are missing or damaged.
    """
    with contextlib.ExitStack() as files:
        if subject.run is not None:
            yield _of_run(subject, subject.run, rejects, files)
        else:
            yield _of_file(subject, rejects, files)


def _of_run(subject: Subject, run: Run, rejects: bool, files: contextlib.ExitStack) -> Dataset:
    stats, recipe = DataStats.load(run), run.recipe
    # The files stay open: a build that replaces them takes nothing away from who is reading.
    parts = []
    for split in SPLITS:
        if split in stats.splits:
            path = run.path / "data" / f"{split}.parquet"
            parts.append(ParquetRows(files.enter_context(_open(path)), str(path)))
    left_out = None
    path = run.path / stats.rejects_file
    if rejects and path.is_file():
        left_out = RejectRows(files.enter_context(_open(path)), str(path))
    shape = shape_of(recipe, BuiltTemplates.load(run).sets(recipe))
    return Dataset(subject, Rows(parts, left_out), shape, [])


def _open(path: Path) -> IO[bytes]:
    try:
        return open(path, "rb")
    except OSError as error:
        said = f"{path} cannot be read: {error.strerror}. Repeat `luthier build`."
        raise RunError(said) from None


def _of_file(subject: Subject, rejects: bool, files: contextlib.ExitStack) -> Dataset:
    """Read a file once into one that any row can be read from."""
    assert subject.file is not None
    read = reading.of_file(subject.file, subject.format)
    [source] = read.sources
    table_of = read.open(source)
    with tempfile.TemporaryDirectory(prefix="luthier-review-") as folder:
        path, log_path = Path(folder) / "rows.parquet", Path(folder) / "rejects.jsonl"
        left_out = 0
        with RejectLog(log_path) as log, ExampleWriter(path) as writer:
            table, place = table_of.table, 0
            unit = "rows" if table.name.endswith(".parquet") else "bytes"
            shown = table.total >= _BIG
            with progress(f"Reading {table.name}", table.total, unit, shown=shown) as go:
                for count, (raw, row) in enumerate(read.shaped(table_of, source), 1):
                    if isinstance(row, Reject) or isinstance(raw, Reject):
                        log.add(row if isinstance(row, Reject) else raw)  # type: ignore[arg-type]
                    else:
                        terms = own_terms(raw.terms, table_of.terms) if raw.terms else None
                        writer.write(row.example.but(terms=terms or table_of.terms))
                    if count % 500 == 0:
                        go(table.place[0] - place)
                        place = table.place[0]
            left_out = len(log)
        if not writer.rows and not (rejects and left_out):
            why = f" {left_out:,} could not be read:\n{log.reasons()}" if left_out else ""
            raise DataError(f"{subject.file}: there are no rows to review.{why}")
        # Open files outlive their names: nothing is left behind, however this process ends.
        part = ParquetRows(files.enter_context(_open(path)), subject.file)
        out = RejectRows(files.enter_context(_open(log_path)), subject.file) if rejects else None
    if left_out and not rejects:
        say(f"{left_out:,} rows cannot be read; --rejects shows them.", style="yellow")
    return Dataset(subject, Rows([part], out, built=False), read.shape, read.notes)
