"""Opens a source with the importer that it names, that the catalogue knows, or that it shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from luthier.console import say
from luthier.data import catalog
from luthier.data.config import SourceConfig
from luthier.data.files import sources
from luthier.data.rows import Reject, Row, Table
from luthier.data.shape import Shape
from luthier.data.terms import terms_of
from luthier.errors import DataError
from luthier.example import Terms
from luthier.registry import Registry

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
    if source.format is not None:
        name, options = source.format.use, source.format.options
    else:
        catalogued = entry.format if entry else None
        if source.dataset is None:
            catalogued = _recognised(source, path, shape, catalogued)
        name, options = str(catalogued), {}
    _require_fitting(name, source, shape)
    module = FORMATS.load(name)
    opener = getattr(module, "open_file", None)
    if opener is not None and path is not None:
        sources.require_readable(path, str(source.path))
        table = opener(path, str(source.path))
    else:
        table = sources.open_source(source, root, wanted=shape.columns(source, name))
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


def _recognised(
    source: SourceConfig, path: Path | None, shape: Shape, catalogued: str | None
) -> str:
    """The importer of a source that names none; `catalogued` is that of its hub id, if known."""
    usual = shape.format
    named = any(
        getattr(source, key) != SourceConfig.model_fields[key].default
        for key in ("input", "output", "text", "messages", "template")
    )
    if named or shape.kind not in ("chat", "generation"):
        return usual
    if path is None:
        return catalogued or usual
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
    if found.format in (usual, "columns"):
        return usual
    require(found)
    say(
        f"{source.path}: read as {found.format} ({found.confidence:.0%} sure: {found.why}); "
        f"say `format: {found.format}` to fix it. The first row:\n{found.sample}"
    )
    return found.format
