"""Finds the sources a recipe names and opens them: rows one at a time, exactly as written.

CSV, TSV, JSON and JSONL are read by luthier itself; Parquet and hub datasets through `datasets`,
streaming. Why not `datasets` for all of them (5.2): one bad JSONL line or CSV row aborts the whole
file, and the message does not say which; its CSV reader (pandas) turns the labels `NA`, `null`
and `NaN` into missing values and `1` into a number; its JSON reader (pyarrow) turns date-like
strings into timestamps, and 1 into 1.0 next to 1.5. Parquet and the hub have types of their own,
so nothing is guessed there. All readers hold one row (Parquet: one row group) in memory.

A file that cannot be understood as a whole raises a DataError. A single bad row becomes a
`Reject` and reading goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from luthier.data.config import SourceConfig
from luthier.data.files.csv_rows import open_csv
from luthier.data.files.hub_rows import open_hub, open_parquet
from luthier.data.files.json_rows import open_json
from luthier.data.files.textfile import is_packed, refuse_other_encodings, suffix_of
from luthier.data.rows import Table
from luthier.errors import DataError, nearest

PACKAGED = "luthier:"
_KINDS = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet")
SUFFIXES = (*_KINDS, ".gz")
"""Endings of data files; before `.gz` stands one of the others, except `.parquet`."""


def source_file(source: SourceConfig, root: Path) -> Path | None:
    """The file of a source; None for hub datasets.

    Args:
        source: a source of the recipe.
        root: the recipe's folder, where relative paths start from.

    Raises:
        DataError: `luthier:NAME` names no set that ships with luthier.
    """
    if source.path is None:
        return None
    if source.path.startswith(PACKAGED):
        return _packaged(source.path.removeprefix(PACKAGED))
    return root / Path(source.path).expanduser()


def name_of(source: SourceConfig) -> str:
    """What a source is called in messages and in the origin of its rows."""
    if source.path is not None:
        return source.path
    if source.generate is not None:
        return f"generate: {source.generate.use}"
    assert source.hub is not None, "SourceConfig checks that there is one place"
    part = [source.config] if source.config else []
    if source.hub_split != SourceConfig.model_fields["hub_split"].default:
        part.append(source.hub_split)
    return f"{source.hub} ({', '.join(part)})" if part else source.hub


def open_source(source: SourceConfig, root: Path, *, wanted: list[str]) -> Table:
    """Open a source; `wanted` are the columns that will be asked for.

    Raises:
        DataError: the file or dataset is not there or cannot be read.
    """
    path = source_file(source, root)
    if path is None:
        assert source.hub is not None, "SourceConfig checks that there is one place"
        return open_hub(
            source.hub, name_of(source), config=source.config, revision=source.revision,
            split=source.hub_split,
        )  # fmt: skip
    return open_file(path, name=source.path, wanted=wanted)


def open_file(path: Path, *, name: str | None = None, wanted: Sequence[str] = ()) -> Table:
    """Open a data file by its ending.

    Args:
        path: a CSV, TSV, JSON or JSONL file, also packed with gzip, or a Parquet file.
        name: what to call it in messages; None: its path.
        wanted: columns that will be asked for; they tell which delimiter a CSV file uses.

    Raises:
        DataError: no such file (names the nearest), empty, of another kind or encoding.
    """
    name = name or str(path)
    suffix = suffix_of(path)
    require_readable(path, name)
    if suffix == ".parquet":
        return open_parquet(path, name)
    if suffix in (".csv", ".tsv"):
        return open_csv(path, name, wanted, "\t" if suffix == ".tsv" else ",")
    return open_json(path, name)


def require_readable(path: Path, name: str) -> None:
    """Raise a DataError unless it is a data file, with something in it, in UTF-8."""
    require_file(path, name)
    suffix = suffix_of(path)
    if suffix == ".parquet" and is_packed(path):
        raise DataError(f"{name}: is a packed Parquet file; unpack it: gunzip -k '{path.name}'")
    if suffix not in _KINDS:
        raise DataError(
            f"{name}: unknown kind of file; expected one of {', '.join(_KINDS)}, all but the last "
            "also with .gz behind."
        )
    if path.stat().st_size == 0:
        raise DataError(f"{name}: the file is empty (0 bytes).")
    if suffix != ".parquet":
        refuse_other_encodings(path, name)


def require_file(path: Path, name: str) -> None:
    """Raise a DataError unless the file is there; names the nearest one."""
    if path.is_dir():
        raise DataError(f"{name}: is a folder; give one of its files.")
    if path.is_file():
        return
    folder = path.parent.resolve()
    if not folder.is_dir():
        raise DataError(f"{name}: no such file; there is no folder {folder} either.")
    files = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    hint = nearest(path.name, files)
    listed = f" Data files there: {', '.join(files[:20])}." if files and not hint else ""
    raise DataError(f"{name}: no such file in {folder}.{hint}{listed}")


def _packaged(name: str) -> Path:
    folder = Path(str(resources.files("luthier"))) / "datasets"
    files = {str(p.relative_to(folder)): p for p in sorted(folder.rglob("*")) if p.is_file()}
    data = {n: p for n, p in files.items() if p.suffix in SUFFIXES}
    if name in data:
        return data[name]
    stems = [p for n, p in data.items() if n.rpartition(".")[0] == name]
    if len(stems) == 1:
        return stems[0]
    listed = ", ".join(PACKAGED + n for n in data) or "none"
    raise DataError(
        f"{PACKAGED}{name}: no such packaged set.{nearest(name, data)} Packaged sets: {listed}."
    )
