"""Rows of a recipe's sources, or of a file nobody described, shaped but not judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from luthier.chat import Rendered
from luthier.data.candidate import Candidate
from luthier.data.config import DataConfig, SourceConfig
from luthier.data.decisions import Reviewed
from luthier.data.files import sources
from luthier.data.linting.guess_columns import SPLIT_NAMES, Guess, guess
from luthier.data.linting.stand_ins import stand_in
from luthier.data.opening import Opened, open_rows
from luthier.data.rows import Reject, Row, Table
from luthier.data.shape import PLAIN, Render, Shape, shape_of, template_sets
from luthier.data.templating.template_sets import load_templates
from luthier.errors import DataError
from luthier.example import Example, Split
from luthier.recipe import Recipe

_SAMPLE = 2000
"""Rows from which the columns of a file are guessed."""
_SIGNS = 20
"""Rows without a split, from which on none is expected."""
_OF_MANY_ROWS = ("super_ni", "self_instruct", "openassistant", "text")
"""Formats whose records are no rows, or of which none has a split."""
_CLOSE = 0.25
"""Two formats whose confidence differs by less are told apart by the user."""


@dataclass
class Reading:
    """What is read, and how it was understood."""

    root: Path
    sources: list[SourceConfig]
    """Held-out ones first, so that what comes after can be compared with them."""
    shape: Shape
    declared: bool
    """Whether somebody said what the labels are."""
    render: Render
    columns: dict[str, str] = field(default_factory=dict)
    """Column taken for each field, where that was guessed."""
    split_column: str | None = None
    notes: list[str] = field(default_factory=list)
    watch: Callable[[Row], None] | None = None
    """Is told of the records behind the rows, as they stand in the file."""

    @property
    def kind(self) -> str:
        """classification, generation, chat or text."""
        return self.shape.kind

    @property
    def has_splits(self) -> bool:
        """Whether rows come with splits."""
        named = {source.split for source in self.sources}
        return self.split_column is not None or bool(named & {"validation", "calibration", "test"})

    def open(self, source: SourceConfig) -> Opened:
        """Open a source with its importer.

        Raises:
            DataError: it is not there, or cannot be read as a whole.
        """
        return open_rows(source, self.root, self.shape)

    def shaped(
        self, opened: Opened, source: SourceConfig
    ) -> Iterator[tuple[Row | Reject, Candidate | Reject]]:
        """Every record of a source: as it was read, and as it will be seen.

        Raises:
            DataError: reading cannot go on.
        """
        latest: list[Row] = []
        if self.watch is not None:
            opened.table.records = _noted(opened.table.records, latest)
        try:
            for row in islice(opened.rows, source.limit):
                if isinstance(row, Reject):
                    yield row, row
                    continue
                found = self.shape.apply(row, source, self.render)
                if latest and self.watch is not None and isinstance(found, Candidate):
                    self.watch(latest.pop())
                if isinstance(found, Candidate) and self.has_splits:
                    found.example = found.example.but(split=self._split(row, source))
                yield row, found
        finally:
            _close(opened.rows)
            _close(opened.table.records)

    def _split(self, row: Row, source: SourceConfig) -> Split:
        said = row.fields.get(self.split_column) if self.split_column else source.split
        named = SPLIT_NAMES.get(str(said).strip().casefold(), "train")
        return named  # type: ignore[return-value]


def _noted(records: Iterator[Row | Reject], latest: list[Row]) -> Iterator[Row | Reject]:
    """The records of a file; the one that was read last is kept beside."""
    for record in records:
        if isinstance(record, Row):
            latest[:] = [record]
        yield record


def _close(rows: Iterator[Row | Reject]) -> None:
    """Close the file behind rows that were not read to their end."""
    if close := getattr(rows, "close", None):
        close()


def no_model(example: Example) -> Rendered:
    """Stands in for a renderer where no model is known."""
    raise DataError(f"{example.origin}: there is no model whose tokens could be counted.")


# --- recipes -----------------------------------------------------------------------------------


def of_recipe(
    recipe: Recipe, root: Path, render: Render = no_model, reviewed: Reviewed | None = None
) -> Reading:
    """The sources of a recipe.

    Args:
        recipe: the recipe.
        root: its folder.
        render: the renderer of its model, if that is at hand.
        reviewed: what people decided about the rows.

    Raises:
        DataError: a template that cannot be used.
    """
    shape = shape_of(recipe, template_sets(recipe, root), reviewed)
    held_out = [s for s in recipe.data.sources if s.split not in ("auto", "train")]
    others = [s for s in recipe.data.sources if s.split in ("auto", "train")]
    return Reading(root, [*held_out, *others], shape, bool(recipe.labels), render)


# --- bare files --------------------------------------------------------------------------------


def of_file(path: str, format: str | None = None) -> Reading:
    """A file without a recipe: its format is recognised, its columns are guessed.

    Args:
        path: relative to the working directory, or `luthier:NAME`.
        format: an importer, if it is known.

    Raises:
        DataError: the file is not there or holds nothing that can be read.
        LuthierError: no such format.
    """
    root = Path()
    file = sources.source_file(SourceConfig(path=path), root)
    assert file is not None, "the path of a file, not of a hub dataset"
    sources.require_readable(file, path)
    name, note = (format, "") if format else _format_of(file, path)
    if name == "columns":
        found = _of_columns(file, path, root)
    else:
        source = SourceConfig.model_validate({"path": path, "format": name})
        kind = {"messages": "chat", "text": "text"}.get(name, "generation")
        found = Reading(root, [source], _shape(kind, (), source, root), False, no_model)
        if name not in _OF_MANY_ROWS and (split := _split_column(file, path)):
            found.split_column = split
            found.notes.append(f"'{split}' says the split; this was guessed")
    found.notes += [note] if note else []
    return found


def rows_of(path: str, wanting: str) -> Iterator[Candidate]:
    """The rows of a file without a recipe; those that cannot be read are passed over.

    Args:
        path: as in `of_file`.
        wanting: what cannot be done where there is none, for the message.

    Raises:
        DataError: there is none.
    """
    reading = of_file(path)
    source = reading.sources[0]
    found = 0
    for _, row in reading.shaped(reading.open(source), source):
        if isinstance(row, Candidate):
            found += 1
            yield row
    if not found:
        raise DataError(
            f"{path}: no row can be read, so {wanting}. `luthier lint {path}` says why."
        )


def _format_of(file: Path, path: str) -> tuple[str, str]:
    """The importer of a file, and how sure that is.

    A file with broken records is what lint is for, so it goes on, and says so, where other
    commands would ask; but not where a second format fits about as well.
    """
    from luthier.data.importing.recognise import CERTAIN, recognise, require

    try:
        found = recognise(file, path)
    except DataError as error:
        try:
            _of_columns(file, path, Path())
        except DataError:
            raise error from None
        return "columns", ""
    if found.format == "columns":
        return "columns", ""
    first, second = ([c for _, c in found.candidates] + [0.0])[:2]
    if first - second < _CLOSE:
        require(found)
    note = f"read as {found.format} ({found.confidence:.0%} sure: {found.why})"
    if found.confidence < CERTAIN and found.runner_up:
        note += f"; the next best is {found.runner_up}, --format says which"
    return found.format, note


def _of_columns(file: Path, path: str, root: Path) -> Reading:
    table = sources.open_file(file, name=path)
    found = guess(_sample(table))
    if found.input is None:
        listed = ", ".join(table.columns or []) or "none that can be read"
        raise DataError(
            f"{path}: no column holds texts (columns: {listed}). Give the format (--format), or "
            "lint a recipe that names the columns."
        )
    if found.output is None:
        source = SourceConfig.model_validate({"path": path, "format": "text", "text": found.input})
        notes = [f"column '{found.input}' was taken for plain text; no column looks like answers"]
        shape = _shape("text", (), source, root)
        return Reading(root, [source], shape, False, no_model, {"text": found.input}, None, notes)
    source = SourceConfig.model_validate(
        {"path": path, "format": "columns", "input": found.input, "output": found.output}
    )
    kind = "classification" if found.labels else "generation"
    columns = {"input": found.input, "output": found.output}
    # Guessed, N/A is no label but a row without one.
    labels = [label for label in found.labels if label.strip() and not stand_in(label)]
    shape = _shape(kind, labels or found.labels, source, root)
    return Reading(
        root, [source], shape, False, no_model, columns, found.split, [_said(found)]
    )  # fmt: skip


def _split_column(file: Path, path: str) -> str | None:
    """The column of a file in another format than plain columns that says the split of each row."""
    table = sources.open_file(file, name=path)
    names: Counter[str] = Counter()
    rows = 0
    try:
        for row in islice(table.records, _SAMPLE):
            if not isinstance(row, Row):
                continue
            rows += 1
            name = next((n for n in row.fields if n.strip().casefold() == "split"), None)
            if name is not None:
                if str(row.fields[name]).strip().casefold() not in SPLIT_NAMES:
                    return None
                names[name] += 1
            elif rows >= _SIGNS and not names:
                return None
    except DataError:  # what can be read of it is read again, and reported
        pass
    finally:
        _close(table.records)
    [(name, count)] = names.most_common(1) or [("", 0)]
    return name if count > rows / 2 else None


def _sample(table: Table) -> list[dict[str, Any]]:
    """Fields of the first rows; where reading cannot go on, of those before."""
    found: list[dict[str, Any]] = []
    try:
        found += (row.fields for row in islice(table.records, _SAMPLE) if isinstance(row, Row))
    except DataError:
        if not found:
            raise
    finally:
        _close(table.records)
    return found


def _said(found: Guess) -> str:
    said = f"input is the column '{found.input}', output '{found.output}'"
    if found.labels:
        shown = ", ".join(f"'{label}'" for label in found.labels[:6])
        more = ", ..." if len(found.labels) > 6 else ""
        said += f" with {len(found.labels)} labels ({shown}{more})"
    if found.split:
        said += f", and '{found.split}' says the split"
    return f"{said}; this was guessed"


def _shape(kind: str, labels: Sequence[str], source: SourceConfig, root: Path) -> Shape:
    sets = {PLAIN: load_templates(PLAIN, root)}
    return Shape(kind, list(labels), DataConfig(sources=[source]), 0, sets)
