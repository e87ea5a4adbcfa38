"""The instructions that evolution begins with: a file of any format that asks something."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from luthier.console import say
from luthier.data.candidate import Candidate
from luthier.data.config import SourceConfig
from luthier.data.files.sources import PACKAGED
from luthier.data.rows import Reject, Row
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
    # They find filters and formats, and so what imports them, by name.
    from luthier.data.linting.reading import of_file
    from luthier.data.opening import FORMATS

    reading = of_file(path)
    if "instruction" in reading.columns.values():
        # Without outputs Alpaca's columns are not recognised; an input belongs to the question.
        reading = of_file(path, "alpaca")
    source = reading.sources[0]
    if source.format is not None and "answers" in FORMATS.options(source.format.use):
        # Answers are written anew: a file of questions will do.
        asked = {"use": source.format.use, **source.format.options, "answers": "optional"}
        source = SourceConfig.model_validate(source.model_dump() | {"format": asked})
    for note in reading.notes:
        say(f"{path}: {note}")
    found: dict[str, Seed] = {}
    lost: list[Reject] = []
    again = 0
    ids: set[str] = set()
    for row, shaped in reading.shaped(reading.open(source), source):
        text = _asked(row, shaped)
        if isinstance(text, Reject):
            lost.append(text)
            continue
        if not text or text in found:
            again += 1
            continue
        assert isinstance(row, Row), "rejects ask nothing"
        name = str(row.fields.get("id") or content_id([text]))
        if name in ids:  # rows of one record: its instances
            name = f"{name}-{content_id([text])[:6]}"
        ids.add(name)
        # Without its folder: rows are the same wherever the file lies.
        origin = replace(row.origin, source=_name(row.origin.source))
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


def _name(source: str) -> str:
    return Path(source).name.removeprefix(PACKAGED)


def _asked(row: Row | Reject, shaped: Candidate | Reject) -> str | Reject:
    """What a row asks; of a conversation, what it begins with."""
    if isinstance(row, Reject):
        return row
    if row.messages:
        return next((m.content for m in row.messages if m.role == "user"), "").strip()
    return shaped if isinstance(shaped, Reject) else shaped.question.strip()
