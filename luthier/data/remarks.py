"""What a build does as it was asked to, and nobody is likely to want."""

from __future__ import annotations

from luthier.artifacts import DataStats
from luthier.console import say
from luthier.data.config import DataConfig
from luthier.data.files.sources import name_of
from luthier.data.split import FILLED

_FEW = 5
"""Near-duplicates that are worth no word, however few rows there are."""


def tell_what_is_odd(stats: DataStats, data: DataConfig) -> None:
    """Tell of a filter that leaves out most rows, and of splits that stay empty.

    Args:
        stats: what was built.
        data: the section that it was built from.
    """
    near, read = stats.rows_rejected.get("near-duplicate", 0), sum(stats.rows_read.values())
    if near > _FEW and near > read / 2:
        say(
            f"near_duplicates left out {near:,} of {read:,} rows, as it does where most of every "
            "row is the same long text. If they are no copies, take the filter out of data.filters "
            "or raise its similarity.",
            style="bold yellow",
        )
    split = data.split
    shared = {name_of(source) for source in data.sources if source.split == "auto"}
    rows = sum(count for name, count in stats.rows_read.items() if name in shared)
    empty = [
        name for name in FILLED
        if (getattr(split, name) or 0) * rows >= 1 and name not in stats.splits
    ]  # fmt: skip
    if empty:
        column = split.group_by
        also = f" (and those with the same '{column}')" if column else ""
        say(
            f"no rows for {' and '.join(empty)}: rows that resemble each other{also} go to the "
            "same split, and too large a group of them goes to train. Raise "
            "data.split.near_duplicates, or name rows that are for it (data.sources: [{path: ..., "
            "split: test}]).",
            style="bold yellow",
        )
