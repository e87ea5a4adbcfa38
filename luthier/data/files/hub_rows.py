"""Parquet files and hub datasets, through `datasets`, streaming."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from luthier.data.rows import Reject, Row, Table
from luthier.errors import DataError
from luthier.example import Origin

_BATCH = 256
"""Rows that are read at a time."""


def open_parquet(path: Path, name: str) -> Table:
    """Open a Parquet file; class numbers become the names they stand for.

    Raises:
        DataError: the file is damaged or of another kind.
    """
    import pyarrow.parquet as pq

    try:
        total = pq.read_metadata(path).num_rows
    except (OSError, ValueError) as error:
        raise DataError(f"{name}: not a readable Parquet file: {error}") from None
    schema = pq.read_schema(path)
    if any(_holds_map(kind) for kind in schema.types):
        table = Table(name, iter(()), schema.names, total=total)
        table.records = _map_rows(path, table)
        return table
    table = _dataset(name, "parquet", data_files=glob.escape(str(path)), split="train")
    table.total = total
    return table


def open_hub(hub: str, name: str, *, config: str | None, revision: str | None, split: str) -> Table:
    """Open a dataset of the Hugging Face hub, streaming.

    Args:
        hub: its id.
        name: what to call it in messages.
        config: its configuration; None: the only one.
        revision: of the dataset; None: the newest.
        split: the split to read.

    Raises:
        DataError: the hub cannot be reached, or has no such dataset, configuration or split.
    """
    return _dataset(name, hub, name=config, revision=revision, split=split)


def _dataset(table_name: str, path: str, **options: Any) -> Table:
    import datasets

    logging = datasets.utils.logging
    level = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        rows = datasets.load_dataset(path, streaming=True, **options)
        features = rows.features or rows._resolve_features().features
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise _unusable(table_name, error) from None
    finally:
        logging.set_verbosity(level)
    table = Table(table_name, iter(()), list(features))
    table.records = _dataset_rows(rows, table, _class_names(features, datasets.ClassLabel))
    return table


def _holds_map(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_map(kind):
        return True
    return any(_holds_map(kind.field(n).type) for n in range(kind.num_fields))


def _map_rows(path: Path, table: Table) -> Iterator[Row | Reject]:
    """Rows of a file with columns of type map, which `datasets` has no feature for (5.2)."""
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH):
                for number, record in enumerate(batch.to_pylist(), number + 1):  # noqa: B020
                    table.place[0] = number
                    yield _row(Origin(table.name, number, "row"), _plain(record))
    except (OSError, ValueError) as error:
        origin = Origin(table.name, number + 1, "row")
        raise DataError(f"{origin}: reading stopped: {error}") from None


def _plain(value: Any) -> Any:
    """A value with its maps, which pyarrow gives as lists of tuples, as objects.

    Where a key stands twice in one, or is no text, it is a list of pairs.
    """
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if not isinstance(value, list):
        return value
    if not any(isinstance(one, tuple) for one in value):
        return [_plain(one) for one in value]
    pairs = [(key, _plain(one)) for key, one in value]
    plain = all(isinstance(key, str) for key, _ in pairs) and len(dict(pairs)) == len(pairs)
    return dict(pairs) if plain else [list(pair) for pair in pairs]


def _class_names(features: Any, kind: Any) -> dict[str, Callable[[int], str]]:
    """Columns of class numbers, and how to turn a number into the name that was written."""
    return {name: f.int2str for name, f in features.items() if isinstance(f, kind)}


def _dataset_rows(
    rows: Any, table: Table, class_names: dict[str, Callable[[int], str]]
) -> Iterator[Row | Reject]:
    number = 0
    try:
        for number, record in enumerate(rows, 1):
            table.place[0] = number
            fields = dict(record)
            for column, named in class_names.items():
                if fields[column] is not None:
                    # -1 is how `datasets` marks rows whose label is withheld.
                    fields[column] = named(fields[column]) if fields[column] >= 0 else None
            yield _row(Origin(table.name, number, "row"), fields)
    except (OSError, ValueError) as error:
        origin = Origin(table.name, number + 1, "row")
        raise DataError(f"{origin}: reading stopped: {error}") from None


def _row(origin: Origin, fields: dict[str, Any]) -> Row | Reject:
    text = "".join(v for v in fields.values() if isinstance(v, str))
    if "\0" in text:
        return Reject(origin, "NUL byte: the row holds a character with code 0", fields)
    return Row(origin, fields)


def _unusable(name: str, error: Exception) -> DataError:
    said = str(error).split("\n")[0]
    if isinstance(error, ConnectionError):
        return DataError(
            f"{name}: the Hugging Face hub cannot be reached ({said}). Check the network and "
            "HF_HUB_OFFLINE, or download the data and give `path:` instead of `hub:`."
        )
    return DataError(f"{name}: cannot be opened: {said}")
