"""The instructions that evolution begins with: a file of any format that asks something."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from luthier.console import say
from luthier.data.rows import Reject
from luthier.errors import DataError
from luthier.example import content_id


@dataclass(frozen=True, slots=True)
class Seed:
    """An instruction with its input, as it is asked."""

    id: str
    """The file's own, or of its text."""
    text: str
    origin: str
    """File and line."""


def read_seeds(path: str) -> list[Seed]:
    """The questions of a file, each once.

    Args:
        path: a data file, or `luthier:NAME`.

    Raises:
        DataError: the file is not there, or asks nothing.
    """
    # It finds filters and formats, and so what imports them, by name.
    from luthier.data.linting.reading import of_file

    reading = of_file(path)
    source = reading.sources[0]
    found: dict[str, Seed] = {}
    lost: list[Reject] = []
    again = 0
    ids: set[str] = set()
    for row, shaped in reading.shaped(reading.open(source), source):
        if isinstance(row, Reject) or isinstance(shaped, Reject):
            lost.append(row if isinstance(row, Reject) else shaped)  # type: ignore[arg-type]
            continue
        text = shaped.question.strip()
        if not text or text in found:
            again += 1
            continue
        name = str(row.fields.get("id") or content_id([text]))
        if name in ids:  # rows of one record: its instances
            name = f"{name}-{content_id([text])[:6]}"
        ids.add(name)
        # Without its folder: rows are the same wherever the file lies.
        origin = replace(row.origin, source=Path(row.origin.source).name)
        found[text] = Seed(name, text, str(origin))
    if lost:
        few = "; ".join(f"{r.origin}: {r.reason}" for r in lost[:3])
        say(f"{path}: {len(lost)} of the rows are no instructions ({few})", style="yellow")
    if again:
        say(f"{path}: {again} of the rows ask nothing, or what another asks", style="yellow")
    if not found:
        raise DataError(
            f"seeds: {path}: no row has an instruction that could be evolved. "
            f"`luthier lint {path}` says why."
        )
    return list(found.values())
