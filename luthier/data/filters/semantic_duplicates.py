"""Rejects rows that say the same as an earlier one in another order, form or wording."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from luthier.data.candidate import Candidate, Filter, require_similarity
from luthier.data.linting.lint_report import Severity
from luthier.data.places import Places
from luthier.data.vectors import Embed, Vectors, WordPieces, opened, unit
from luthier.errors import DataError

SEVERITY: Severity = "warning"
FIX = "Keep one of the rows; they teach the same thing twice."
_NUMBERS = re.compile(r"\d+(?:[.,]\d+)*")
_NEGATIONS = re.compile(
    r"\b(?:no|not|never|nobody|nothing|none|without|cannot)\b|n['’]t\b", re.IGNORECASE
)


def build(
    *,
    similarity: float = 0.95,
    model: str | None = None,
    revision: str | None = None,
    embed: Embed | None = None,
) -> Filter:
    """Rows whose vectors are at least this similar (cosine) to an earlier row's.

    Without a model the vectors count the pieces of words (3 to 5 letters, hashed into 512 places;
    scikit-learn's HashingVectorizer): word order and endings do not matter, synonyms do. With a
    sentence-embedding model, meanings are compared. Rows with different numbers, or of which one is
    negated, are never duplicates. In classification, only rows of the same label are compared,
    elsewhere questions.

    Every row is compared with every other: 20,000 rows took 22 s on one core, and twice as many
    take four times as long. Embedding them with a model comes on top.

    Args:
        similarity: in (0, 1]. How near paraphrases come depends on the model; sentence-embedding
            models want about 0.9.
        model: a sentence-embedding model: a hub id, an alias or a local folder (`embedder.py`).
        revision: of the model on the hub.
        embed: vectors of one's own, from Python: texts -> (texts, dimensions).

    Raises:
        DataError: an option that makes no sense.
        ModelError: the model cannot be found, fetched or opened.
    """
    name = "filter 'semantic_duplicates'"
    require_similarity("semantic_duplicates", similarity)
    if embed is not None and not callable(embed):
        raise DataError(
            f"{name}: embed is {embed!r}, which turns no text into vectors. In a recipe, name a "
            "model: {use: semantic_duplicates, model: sentence-transformers/all-MiniLM-L6-v2}."
        )
    if embed is not None and model is not None:
        raise DataError(f"{name}: model and embed both give vectors; name one of them.")
    if revision is not None and model is None:
        raise DataError(f"{name}: revision is that of a model, and none is named.")
    if model is not None:
        embed = opened(name, model, revision)
    return _SemanticDuplicates(similarity, embed or WordPieces())


class _SemanticDuplicates:
    def __init__(self, similarity: float, embed: Embed) -> None:
        self.similarity, self.embed = similarity, embed
        self.kept: dict[tuple[Any, ...], _Group] = {}
        self.prepared: dict[int, tuple[Candidate, Vectors]] = {}

    def prepare(self, rows: Sequence[Candidate]) -> None:
        """Rows that are going to be judged one after another: together they are faster read."""
        vectors = np.asarray(self.embed([row.question for row in rows]), dtype=np.float32)
        vectors = unit(vectors)
        self.prepared = {id(r): (r, v) for r, v in zip(rows, vectors, strict=True)}

    def __call__(self, row: Candidate) -> str | None:
        group = self.kept.get(_group(row))
        if group is None:
            return None
        number, similarity = group.nearest(self._vector(row))
        if similarity < self.similarity:
            return None
        return f"semantic duplicate: {similarity:.2f} similar to {group.places[number]}"

    def remember(self, row: Candidate) -> None:
        self.kept.setdefault(_group(row), _Group()).add(self._vector(row), row)

    def _vector(self, row: Candidate) -> Vectors:
        # The row itself is held, so that no other one is given its `id`.
        if id(row) not in self.prepared:
            self.prepare([row])
        return self.prepared[id(row)][1]


class _Group:
    """Rows that can be duplicates of each other, as far as numbers, negation and label go."""

    def __init__(self) -> None:
        self.places = Places()
        self.vectors: Vectors = np.zeros((0, 0), np.float32)

    def add(self, vector: Vectors, row: Candidate) -> None:
        count = len(self.places)
        if count == len(self.vectors):
            room = np.zeros((max(16, 2 * count), len(vector)), np.float32)
            if count:
                room[:count] = self.vectors[:count]
            self.vectors = room
        self.vectors[count] = vector
        self.places.append(row.example.origin)

    def nearest(self, vector: Vectors) -> tuple[int, float]:
        cosines = self.vectors[: len(self.places)] @ vector
        best = int(cosines.argmax())
        return best, float(cosines[best])


def _group(row: Candidate) -> tuple[Any, ...]:
    numbers = tuple(sorted(_NUMBERS.findall(row.question)))
    return row.example.label, numbers, len(_NEGATIONS.findall(row.question)) % 2
