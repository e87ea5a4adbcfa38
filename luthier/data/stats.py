"""Counts of a finished dataset: rows, labels, tokens, samples."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Sequence

import numpy as np

from luthier.artifacts import SplitStats, TokenCounts
from luthier.chat import Renderer
from luthier.example import Example

BINS = 20
SAMPLES = 3


class SplitCounts:
    """What is counted of a split while its rows go by."""

    def __init__(self) -> None:
        self._labels: Counter[str] = Counter()
        self._tokens, self._trained = array("i"), array("i")

    def see(self, example: Example, tokens: int, trained: int) -> None:
        """Count a row with its rendered length and its trained tokens."""
        if example.label is not None:
            self._labels[example.label] += 1
        self._tokens.append(tokens)
        self._trained.append(trained)

    def stats(self) -> SplitStats:
        """Statistics of the rows seen; at least one."""
        counts = token_counts(self._tokens, self._trained)
        return SplitStats(rows=len(self._tokens), labels=dict(self._labels), tokens=counts)


def token_counts(tokens: Sequence[int], trained: Sequence[int]) -> TokenCounts:
    """Distribution of the tokens of at least one row, and the number of trained ones."""
    total = np.array(tokens)
    low, high = int(total.min()), int(total.max())
    width = math.ceil((high - low + 1) / BINS)
    bins = np.bincount((total - low) // width)
    return TokenCounts(
        min=low,
        median=int(np.median(total)),
        mean=float(total.mean()),
        p95=int(np.percentile(total, 95, method="higher")),
        max=high,
        total=int(total.sum()),
        trained=sum(trained),
        histogram=[(low + i * width, int(count)) for i, count in enumerate(bins)],
    )


class Samples:
    """A few training rows, the same ones whatever their order: those with the smallest ids."""

    def __init__(self) -> None:
        self._rows: list[Example] = []

    def see(self, example: Example) -> None:
        """Look at a training row."""
        if len(self._rows) < SAMPLES or example.id < self._rows[-1].id:
            self._rows = sorted([*self._rows, example], key=lambda e: e.id)[:SAMPLES]

    def shown(self, renderer: Renderer) -> list[dict[str, str]]:
        """The rows as the model reads them: text decoded from their token ids."""
        shown = []
        for example in self._rows:
            ids = renderer.render(example).input_ids
            start = len(renderer.prompt(example.prompt)) if example.messages else 0
            decode = renderer.tokenizer.decode
            shown.append(
                {"id": example.id, "prompt": decode(ids[:start]), "completion": decode(ids[start:])}
            )
        return shown
