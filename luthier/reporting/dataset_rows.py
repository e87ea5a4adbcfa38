"""A sample of the rows of a dataset: of any size, since one batch is in memory at a time."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.errors import RunError
from luthier.example import SPLITS, Example, Message, Origin, Split
from luthier.run import Run

MOST_ROWS = 5000
"""Rows that are looked at one by one; of more, so many are drawn by the recipe's seed."""
_BATCH = 2000
_NEEDED = ("id", "source", "row", "split", "label", "text", "messages", "template", "fields")
_OPTIONAL = ("counted", "tools")


@dataclass(frozen=True)
class SampledRows:
    """Rows of all splits, in their order."""

    rows: list[Example]
    total: int
    """Rows in the files."""

    @property
    def is_all(self) -> bool:
        """Whether no row is missing."""
        return len(self.rows) == self.total


def sampled_rows(run: Run, splits: Sequence[Split], most: int = MOST_ROWS) -> SampledRows:
    """Read rows of a dataset.

    Args:
        run: a run whose data stage has finished.
        splits: those that have rows.
        most: how many at most, drawn without replacement by the recipe's seed.

    Raises:
        RunError: a file is missing or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    paths = [run.path / "data" / f"{split}.parquet" for split in SPLITS if split in splits]
    rows: list[Example] = []
    path, total, seen = run.path / "data", 0, 0
    try:
        for path in paths:
            total += pq.read_metadata(path).num_rows
        drawn = sorted(random.Random(run.recipe.seed).sample(range(total), min(total, most)))
        wanted = iter(drawn)
        following = next(wanted, None)
        for path in paths:
            for batch in _batches(path):
                inside = []
                while following is not None and following < seen + len(batch):
                    inside.append(following - seen)
                    following = next(wanted, None)
                seen += len(batch)
                taken = batch.take(pa.array(inside, pa.int64())).to_pylist()
                rows += [_as_example(row) for row in taken]
    except FileNotFoundError:
        raise RunError(f"{path} is missing. Repeat `luthier build`.") from None
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        said = str(error).split("\n")[0]
        raise RunError(f"{path} cannot be read: {said}. Repeat `luthier build`.") from None
    return SampledRows(rows, total)


def _batches(path: Path) -> Iterator[Any]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        names = file.schema_arrow.names
        missing = [name for name in _NEEDED if name not in names]
        if missing:
            raise KeyError(f"no column {', '.join(missing)}")
        read = [*_NEEDED, *(name for name in _OPTIONAL if name in names)]
        # Asked for all groups at once, pyarrow reads the whole file ahead.
        for group in range(file.num_row_groups):
            yield from file.iter_batches(_BATCH, row_groups=[group], columns=read)


def _as_example(row: Mapping[str, Any]) -> Example:
    return Example(
        id=row["id"],
        origin=Origin(row["source"], row["row"], row.get("counted") or "line"),
        fields=json.loads(row["fields"]),
        messages=tuple(Message(**m) for m in row["messages"] or ()),
        text=row["text"],
        label=row["label"],
        template=row["template"],
        split=row["split"],
        tools=row.get("tools"),
    )


# --- what a row asks -----------------------------------------------------------------------------


def instruction_of(row: Example) -> str:
    """What a row asks for in its own words, without its template and without its input."""
    for name in ("instruction", "input"):
        given = _field(row, name)
        if given:
            return given
    return _asked(row, first=True) or row.text or ""


def subject_of(row: Example) -> str:
    """What a row is about in its own words: what tells it from other rows of its template."""
    own = [text for name in ("instruction", "input") if (text := _field(row, name))]
    return "\n".join(own) or _asked(row) or row.text or ""


def _field(row: Example, name: str) -> str:
    value = row.fields.get(name)
    return value.strip() if isinstance(value, str) else ""


def _asked(row: Example, *, first: bool = False) -> str:
    said = [m.content for m in row.messages[:-1] if m.role == "user" and m.content.strip()]
    return "\n".join(said[:1] if first else said)
