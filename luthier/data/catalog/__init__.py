"""The catalogue: public instruction sets, one YAML file each, with what a user must know of them.

A recipe names one with `data.sources: [{dataset: alpaca, path: alpaca_data.json}]`; importer and
terms come from here.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal

from pydantic import Field
from ruamel.yaml import YAML

from luthier.errors import LuthierError, unknown
from luthier.section import Section

FOLDER = Path(str(resources.files("luthier.data.catalog")))


class Entry(Section):
    """One public set."""

    title: str
    size: str
    """In words, with its unit."""
    rows: int | None
    authors: str
    year: int
    made: str
    """How it came about."""
    licence: str
    """Of the data: SPDX identifier, or words."""
    commercial: Literal["yes", "no", "mixed", "unclear"]
    """Whether the data licence allows commercial use; the generator's terms come on top."""
    generator: str | None
    """The model that wrote it; null: people did."""
    generator_terms: str | None
    """What that model's terms say about training on its outputs."""
    languages: list[str]
    defects: list[str]
    """What is known to be wrong with it."""
    format: str
    """Importer."""
    home: str
    """Hub id or address."""
    also: list[str] = Field(default=[])
    """Hub ids of copies and later versions that were made in the same way, on the same terms."""
    paper: str | None
    """arXiv number."""
    use: str
    """How to name it in a recipe."""
    sources: list[str]
    """Where these facts come from."""


def names() -> list[str]:
    """Names of the sets, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


@cache
def entry(name: str) -> Entry:
    """What is known of a set.

    Raises:
        LuthierError: no such set; names the nearest one.
    """
    if name not in names():
        raise LuthierError(unknown("dataset", name, names()))
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    return Entry.model_validate(YAML(typ="safe", pure=True).load(text))


def by_home(hub: str) -> str | None:
    """The set of a hub id, its own or that of a copy; None where the catalogue has neither."""
    return next((n for n in names() if hub in (entry(n).home, *entry(n).also)), None)
