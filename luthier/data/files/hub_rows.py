"""Parquet files and hub datasets, through `datasets`, streaming."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from luthier.data.rows import Reject, Row, Table
from luthier.errors import DataError
from luthier.example import Origin


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
            origin = Origin(table.name, number, "row")
            text = "".join(v for v in fields.values() if isinstance(v, str))
            broken = "NUL byte: the row holds a character with code 0" if "\0" in text else None
            yield Reject(origin, broken, fields) if broken else Row(origin, fields)
    except (OSError, ValueError) as error:
        origin = Origin(table.name, number + 1, "row")
        raise DataError(f"{origin}: reading stopped: {error}") from None


def _unusable(name: str, error: Exception) -> DataError:
    said = str(error).split("\n")[0]
    if isinstance(error, ConnectionError):
        return DataError(
            f"{name}: the Hugging Face hub cannot be reached ({said}). Check the network and "
            "HF_HUB_OFFLINE, or download the data and give `path:` instead of `hub:`."
        )
    return DataError(f"{name}: cannot be opened: {said}")
