"""Rejects rows that have drifted away from a file of seed rows, or come too near to them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from luthier.data.candidate import Candidate, Filter, require_similarity
from luthier.data.linting.lint_report import Severity
from luthier.data.places import Places
from luthier.data.vectors import Embed, Vectors, WordPieces, opened, unit
from luthier.errors import DataError

SEVERITY: Severity = "warning"
FIX = "Is the row still of the task? If so, add seeds like it, or lower `minimum`."
FILES = ("seeds",)
"""Options that name files, relative to the recipe."""


def build(
    *,
    seeds: str,
    minimum: float | None = None,
    maximum: float | None = None,
    model: str | None = None,
    revision: str | None = None,
) -> Filter:
    """Rows whose question is too unlike every seed's (cosine), or too like one.

    Nothing is trained: a row is as relevant as its nearest seed is near. What is written by a model
    from seeds drifts with every round; `minimum` holds it to the task. Look at the scores of a
    sample first, since they depend on the vectors: `luthier review` shows rejects with theirs.

    Args:
        seeds: a file of rows in any format that can be read.
        minimum: least cosine with the nearest seed.
        maximum: greatest.
        model: a sentence-embedding model (`embedder.py`); None: pieces of words, for which two
            texts on the same matter in other words are far apart.
        revision: of the model on the hub.

    Raises:
        DataError: an option that makes no sense, or seeds that cannot be read.
        ModelError: the model cannot be found, fetched or opened.
    """
    if not isinstance(seeds, str) or not seeds:
        raise DataError(f"filter 'relevance': seeds is {seeds!r}, expected a file of rows.")
    if minimum is None and maximum is None:
        raise DataError("filter 'relevance': give 'minimum' or 'maximum', from 0 to 1.")
    for value in (minimum, maximum):
        if value is not None:
            require_similarity("relevance", value)
    embed = opened("filter 'relevance'", model, revision) if model is not None else WordPieces()
    return _Relevance(seeds, minimum, maximum, embed)


class _Relevance:
    def __init__(
        self, seeds: str, minimum: float | None, maximum: float | None, embed: Embed
    ) -> None:
        self.seeds, self.minimum, self.maximum, self.embed = seeds, minimum, maximum, embed
        self.places = Places()
        self.prepared: dict[int, tuple[Candidate, Vectors]] = {}

    @cached_property
    def vectors(self) -> Vectors:
        """Of the seeds: (seeds, dimensions)."""
        # It finds filters, and so this one, by name.
        from luthier.data.linting.reading import rows_of

        texts = []
        for row in rows_of(self.seeds, "nothing can be compared with it"):
            self.places.append(row.example.origin)
            texts.append(row.question)
        if not texts:
            raise DataError(f"filter 'relevance': {self.seeds}: there are no rows in it.")
        return unit(np.asarray(self.embed(texts), np.float32))

    def prepare(self, rows: Sequence[Candidate]) -> None:
        """Rows that are going to be judged one after another: together they are faster read."""
        vectors = unit(np.asarray(self.embed([row.question for row in rows]), np.float32))
        self.prepared = {id(r): (r, v) for r, v in zip(rows, vectors, strict=True)}

    def __call__(self, row: Candidate) -> str | None:
        if id(row) not in self.prepared:
            self.prepare([row])
        scores = self.vectors @ self.prepared[id(row)][1]
        nearest = int(scores.argmax())
        score, where = float(scores[nearest]), self.places[nearest]
        if self.minimum is not None and score < self.minimum:
            return f"off topic: {score:.2f} to the nearest seed, {where}; {self.minimum:g} needed"
        if self.maximum is not None and score > self.maximum:
            return f"too near a seed: {score:.2f} to {where}, at most {self.maximum:g}"
        return None
