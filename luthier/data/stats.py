"""Counts of a finished dataset: rows, labels, tokens, samples."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from luthier.artifacts import SplitStats, TokenCounts
from luthier.chat import Renderer
from luthier.example import SPLITS, Example, Split

BINS = 20
SAMPLES = 3
Lengths = Mapping[str, tuple[int, int]]
"""Per row id its number of tokens, and of trained tokens."""


def split_stats(examples: Sequence[Example], lengths: Lengths) -> dict[Split, SplitStats]:
    """Statistics of every split that has rows."""
    found: dict[Split, SplitStats] = {}
    for split in SPLITS:
        rows = [e for e in examples if e.split == split]
        if rows:
            labels = Counter(e.label for e in rows if e.label is not None)
            tokens = token_counts([lengths[e.id] for e in rows])
            found[split] = SplitStats(rows=len(rows), labels=dict(labels), tokens=tokens)
    return found


def token_counts(lengths: Sequence[tuple[int, int]]) -> TokenCounts:
    """Distribution of (tokens, trained tokens) over at least one row."""
    total = np.array([n for n, _ in lengths])
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
        trained=sum(trained for _, trained in lengths),
        histogram=[(low + i * width, int(count)) for i, count in enumerate(bins)],
    )


def samples(examples: Sequence[Example], renderer: Renderer) -> list[dict[str, str]]:
    """Some training rows as the model reads them: text decoded from their token ids."""
    rows = sorted((e for e in examples if e.split == "train"), key=lambda e: e.id)[:SAMPLES]
    shown = []
    for example in rows:
        ids = renderer.render(example).input_ids
        start = len(renderer.prompt(example.prompt)) if example.messages else 0
        decode = renderer.tokenizer.decode
        shown.append(
            {"id": example.id, "prompt": decode(ids[:start]), "completion": decode(ids[start:])}
        )
    return shown
