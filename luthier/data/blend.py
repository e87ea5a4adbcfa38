"""The mixture of a build: how its sources are read, and which of their rows are trained on."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from luthier.artifacts import MixturePart
from luthier.console import progress, table
from luthier.data.config import SourceConfig
from luthier.data.files import sources
from luthier.data.intake import Intake
from luthier.data.kept import Kept
from luthier.data.mix import bounds_of, interleaved, mixture, rows_to_read
from luthier.data.opening import Opened, open_rows
from luthier.data.split import FILLED, Shared
from luthier.errors import DataError
from luthier.recipe import Recipe

_MANY = 20_000
"""Rows from which mixing them shows progress."""


def names_of(found: Sequence[SourceConfig]) -> list[str]:
    """What sources are called in a mixture, each its own name, whatever they have in common.

    Args:
        found: the recipe's sources; several may be the same file with other templates.
    """
    names = [sources.name_of(source) for source in found]
    often = Counter(names)
    return [
        f"{name} (source {number})" if often[name] > 1 else name
        for number, name in enumerate(names, 1)
    ]


# --- reading -----------------------------------------------------------------------------------


def take_in(intake: Intake, recipe: Recipe) -> None:
    """Read all sources, one after another; those of a streamed mixture in turns.

    Raises:
        DataError: a source cannot be read, or a streamed one has no weight.
    """
    mix = recipe.data.mix
    if mix is None or not mix.streaming:
        for source in recipe.data.sources:
            intake.read(source)
        return
    streamed: dict[str, Opened] = {}
    for name, source in zip(names_of(recipe.data.sources), recipe.data.sources, strict=True):
        if source.split not in ("auto", "train"):
            intake.read(source)  # rows that are kept for a test are no part of the mixture
        elif source.weight is None:
            raise DataError(
                f"data.mix: streaming takes rows by weight; {name} has none. Write it as "
                "data.sources: [{path: ..., weight: 2}]."
            )
        else:
            streamed[name] = open_rows(source, intake.root, intake.shape)
    if not streamed:
        raise DataError("data.mix: no source is for training, so there is nothing to mix.")
    _in_turns(intake, streamed, mix.rows or 0, recipe)


def _in_turns(intake: Intake, streamed: Mapping[str, Opened], rows: int, recipe: Recipe) -> None:
    """Read so far that `rows` rows are left to train on when the others have their splits."""
    whole = sum(opened.source.weight or 0 for opened in streamed.values())
    streams: dict[str, Iterator[bool]] = {}
    needed: dict[str, int] = {}
    for name, opened in streamed.items():
        share = _trained_share(opened, recipe)
        needed[name] = rows_to_read(rows * (opened.source.weight or 0) / whole, share)
        # Rows that are rejected must not count towards a source's share.
        kept = (True for was_kept in intake.taking(opened) if was_kept)
        most = opened.source.max_rows
        streams[name] = kept if most is None else islice(kept, rows_to_read(most, share))
    total = sum(needed.values())
    with progress("Mixing", total, shown=total >= _MANY) as advance:
        for number, _ in enumerate(islice(interleaved(streams, needed), total), 1):
            if number % 500 == 0:
                advance(500)


def _trained_share(opened: Opened, recipe: Recipe) -> float:
    """The share of a source's rows that are trained on."""
    if opened.source.split == "train" or (opened.format == "text" and recipe.task.kind != "text"):
        return 1.0
    return 1.0 - sum(getattr(recipe.split, split) or 0.0 for split in FILLED)


# --- choosing ----------------------------------------------------------------------------------


def chosen_rows(kept: Kept, shared: Shared, recipe: Recipe) -> tuple[list[int], dict[str, int]]:
    """How often each row is written, and how many training rows each source has.

    Args:
        kept: all rows that passed the filters.
        shared: their splits; rows that are left out are written no time.
        recipe: its `data.mix`, weights and largest numbers of rows.
    """
    train = array("i", (i for i in range(len(kept))
                        if shared.splits[i] == "train" and i not in shared.claimed))  # fmt: skip
    found = recipe.data.sources
    chosen, available = mixture(
        kept.weighing(train),
        config=recipe.data.mix,
        bounds=bounds_of(zip(names_of(found), found, strict=True)),
        seed=recipe.seed,
    )
    times = [0 if i in shared.claimed else 1 for i in range(len(kept))]
    for i, taken in zip(train, chosen, strict=True):
        times[i] = taken
    return times, available


class Given:
    """Counts what each source gives to the training rows while they are written."""

    def __init__(self, available: Mapping[str, int]) -> None:
        self._available = available
        self._rows = dict.fromkeys(available, 0)
        self._tokens = dict.fromkeys(available, 0)
        self._trained = dict.fromkeys(available, 0)

    def see(self, source: str, tokens: int, trained: int) -> None:
        """Count a training row."""
        self._rows[source] += 1
        self._tokens[source] += tokens
        self._trained[source] += trained

    def parts(self) -> list[MixturePart]:
        """The mixture as it was written."""
        rows, trained = (max(1, sum(each.values())) for each in (self._rows, self._trained))
        return [
            MixturePart(
                source=name, available=available, rows=self._rows[name],
                share=self._rows[name] / rows, tokens=self._tokens[name],
                trained_tokens=self._trained[name], trained_share=self._trained[name] / trained,
            )
            for name, available in self._available.items()
        ]  # fmt: skip


def show_mixture(parts: Iterable[MixturePart]) -> None:
    """Print what each source gave, where several gave something."""
    parts = list(parts)
    if sum(part.available > 0 for part in parts) < 2:
        return
    table(
        "Training rows by source",
        ["source", "has", "gives", "share", "trained tokens", "share"],
        [
            [p.source, f"{p.available:,}", f"{p.rows:,}", f"{p.share:.1%}",
             f"{p.trained_tokens:,}", f"{p.trained_share:.1%}"]
            for p in parts
        ],
    )  # fmt: skip
