"""Texts as vectors whose cosine says how alike they are: by pieces of words, or by a model."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.errors import DataError, ModelError

Vectors = NDArray[np.float32]
Embed = Callable[[Sequence[str]], Vectors]
"""Texts -> (texts, dimensions)."""
_FEATURES = 512
_WORD = re.compile(r"\w+")


def unit(vectors: Vectors) -> Vectors:
    """Rows of length 1, but for those that are zero."""
    found: Vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return found


def opened(name: str, model: str, revision: str | None) -> Embed:
    """What a filter's option `model` names, as a function that turns texts into vectors.

    Args:
        name: the filter, in messages.
        model: a hub id, an alias or a local folder.
        revision: of the model on the hub.

    Raises:
        DataError: no name, or that of a run.
        ModelError: the model cannot be found, fetched or opened.
    """
    for option, value in (("model", model), ("revision", revision or "main")):
        if not isinstance(value, str) or not value.strip():
            raise DataError(f"{name}: {option} is {value!r}, expected a name.")
    if model.startswith("run:"):
        raise DataError(
            f"{name}: model is '{model}', and filters do not look into runs. Give the folder of "
            "that run's merged export, or a sentence-embedding model."
        )
    from luthier.embedder import open_embedder

    try:
        return open_embedder(model, revision=revision)
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from error


class WordPieces:
    """Vectors of the pieces of words."""

    @cached_property
    def vectorizer(self) -> Any:
        from sklearn.feature_extraction.text import HashingVectorizer

        return HashingVectorizer(
            n_features=_FEATURES, analyzer="char_wb", ngram_range=(3, 5), dtype=np.float32
        )

    def __call__(self, texts: Sequence[str]) -> Vectors:
        words = [" ".join(_WORD.findall(text)) for text in texts]
        vectors: Vectors = self.vectorizer.transform(words).toarray()
        return vectors
