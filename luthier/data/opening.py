"""Opens a source with the importer that it names, that the catalogue knows, or that it shows."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from luthier.console import say
from luthier.data import catalog
from luthier.data.catalog import Entry
from luthier.data.config import SourceConfig
from luthier.data.files import sources
from luthier.data.rows import Reject, Row, Table
from luthier.data.shape import Shape
from luthier.data.terms import terms_of
from luthier.errors import DataError
from luthier.example import Terms
from luthier.registry import Registry

if TYPE_CHECKING:
    from luthier.data.importing.recognise import Recognised

FORMATS = Registry("format", "luthier.data.formats")
BUILT = "built"


class Opened(NamedTuple):
    """A source that is about to be read."""

    source: SourceConfig
    table: Table
    format: str
    rows: Iterator[Row | Reject]
    terms: Terms


def open_rows(source: SourceConfig, root: Path, shape: Shape) -> Opened:
    """Open a source.

    Args:
        source: what the recipe says of it.
        root: folder of the recipe, where relative paths start from.
        shape: how the rows of the task look; it says which importer is usual.

    Raises:
        DataError: it cannot be read, nobody can say in which format it is, or its rows are of no
            use to the task.
    """
    known = source.dataset or (catalog.by_home(source.hub) if source.hub else None)
    entry = catalog.entry(known) if known else None
    path = sources.source_file(source, root)
    table: Table | None = None
    if path is None:
        table = sources.open_source(source, root, wanted=[])
    options: dict[str, Any] = {}
    if source.format is not None:
        name, options = source.format.use, source.format.options
    elif table is not None:
        name = _of_hub(source, table, shape, entry)
    elif source.dataset is not None:
        assert entry is not None and path is not None
        name = _of_set(source, path, shape, entry)
    else:
        assert path is not None
        name = _of_file(source, path, shape)
    _require_fitting(name, source, shape)
    module = FORMATS.load(name)
    opener = getattr(module, "open_file", None)
    if opener is not None and path is not None:
        sources.require_readable(path, str(source.path))
        table = opener(path, str(source.path))
    elif table is None:
        table = sources.open_source(source, root, wanted=shape.columns(source, name))
    assert table is not None
    if asking := getattr(module, "rows_asked", None):
        rows = asking(table, shape.asked_of(source), **options)
    else:
        rows = module.rows(table, source, **options)
    return Opened(source, table, name, rows, terms_of(source, entry))


def _require_fitting(name: str, source: SourceConfig, shape: Shape) -> None:
    """Raise a DataError for an importer whose rows the task has no use for."""
    if name == BUILT:  # rows of all kinds; those that are not of this one are rejected one by one
        return
    if (shape.kind == "text") != (name == "text") and shape.kind in ("text", "classification"):
        raise DataError(
            f"{sources.name_of(source)}: task.kind: {shape.kind} needs format: {shape.format}, "
            f"not {name}."
        )


def _names_columns(source: SourceConfig) -> bool:
    """Whether the recipe says where in a row to look."""
    return any(
        getattr(source, key) != SourceConfig.model_fields[key].default
        for key in ("input", "output", "text", "messages", "template")
    )


def _of_file(source: SourceConfig, path: Path, shape: Shape) -> str:
    """The importer of a file of which the recipe says neither format nor set."""
    usual = shape.format
    if _names_columns(source) or shape.kind not in ("chat", "generation"):
        return usual
    from luthier.data.importing.recognise import CERTAIN, recognise, require

    sources.require_readable(path, str(source.path))
    # Templates for the very columns of a file say what it is, where no format is sure of it.
    by_columns = shape.data.template is not None and not (
        {"input", "output"} & shape.asked_of(source).required.keys()
    )
    try:
        found = recognise(path, str(source.path))
    except DataError:
        if by_columns:
            return "columns"
        raise
    if by_columns and (found.confidence < CERTAIN or found.format == "columns"):
        return "columns"
    if found.format == usual or (found.format == "columns" and not found.options):
        return usual
    require(found)
    if found.format == "columns":
        return usual
    _say(found, f"say `format: {found.format}` to fix it")
    return found.format


def _of_set(source: SourceConfig, path: Path, shape: Shape, entry: Entry) -> str:
    """The importer of a file of a set of the catalogue.

    Sets are published in several forms, of which an entry knows the usual one; a file that is
    certainly of another is read as that.
    """
    if _names_columns(source) or shape.kind == "text":
        return entry.format
    from luthier.data.importing.recognise import recognise

    sources.require_readable(path, str(source.path))
    try:
        found = recognise(path, str(source.path))
    except DataError:  # e.g. records that only the set's own importer can mend
        return entry.format
    return _surer(found, entry.format, f"the format of {source.dataset}")


def _of_hub(source: SourceConfig, table: Table, shape: Shape, entry: Entry | None) -> str:
    """The importer of a hub set; the first rows are looked at and put back."""
    usual = shape.format
    if _names_columns(source) or shape.kind not in ("chat", "generation"):
        return usual
    from luthier.data.importing import sample as samples
    from luthier.data.importing.recognise import judged

    first = list(islice(table.records, samples.RECORDS))
    table.records = chain(first, table.records)
    known = entry.format if entry else usual
    sample = samples.of_rows(table.name, first)
    if not sample.records:
        return known
    whose = f"the format of {entry.title}" if entry else "what is usual here"
    return _surer(judged(sample), known, whose)


def _surer(found: Recognised, known: str, whose: str) -> str:
    """The format that was recognised, where it is certain and rules out the one that is known."""
    from luthier.data.importing.recognise import CERTAIN, GENERIC

    # What fits nearly everything rules out nothing; a set whose own importer reads such records
    # too is left to that.
    also = (known, *getattr(FORMATS.load(known), "ALSO_READS", ()), *GENERIC)
    if found.confidence < CERTAIN or found.format in also:
        return known
    _say(found, f"not as {known}, {whose}, which `format: {known}` would ask for")
    return found.format


def _say(found: Recognised, advice: str) -> None:
    say(
        f"{found.name}: read as {found.format} ({found.confidence:.0%} sure: {found.why}); "
        f"{advice}. The first row:\n{found.sample}"
    )
