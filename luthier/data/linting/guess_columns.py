"""Which columns of a table nobody described hold the input, the answer and the split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from luthier.data.templating.template import as_text

INPUTS = (
    "input", "inputs", "sentence", "text", "question", "prompt", "query", "instruction",
    "utterance", "review", "content", "statement", "message", "tweet", "comment", "document",
    "article", "passage", "premise",
)  # fmt: skip
OUTPUTS = (
    "output", "outputs", "label", "labels", "answer", "target", "targets", "category", "class",
    "response", "completion", "sentiment", "intent", "topic", "gold", "gold_label",
    "label_text", "reply", "summary", "translation", "reference", "y",
)  # fmt: skip
SPLIT_NAMES = {
    "train": "train", "training": "train", "validation": "validation", "valid": "validation",
    "val": "validation", "dev": "validation", "calibration": "calibration", "test": "test",
    "testing": "test",
}  # fmt: skip
"""What a column `split` may say, and the split it means."""
_LABELS = ("label", "labels", "category", "class", "sentiment", "intent", "topic", "gold_label")
_ABOUT_ROWS = (
    "id", "lang", "language", "source", "split", "year", "date", "author", "licence", "license",
    "url", "rank", "template", "version", "model",
)  # fmt: skip
"""Columns that say something about a row and answer nothing."""
MOST_LABELS, LONGEST_LABEL, ROWS_PER_LABEL = 20, 40, 3
"""Labels at most, characters of one, and rows of each on average from which values are labels."""


class Guess(NamedTuple):
    """The columns that were taken."""

    input: str | None
    output: str | None
    labels: tuple[str, ...]
    """Where the outputs look like labels: those of the sample, sorted."""
    split: str | None
    """A column that says to which split a row belongs."""


def guess(sample: Sequence[Mapping[str, Any]]) -> Guess:
    """Guess from names first, then from contents.

    The input is the column with the most usual name, else the one that says most. Outputs
    are labels if there are at most 20 short ones, each three times on average or in a column of
    such a name.
    """
    columns = list(dict.fromkeys(name for fields in sample for name in fields))
    folded = {column.strip().casefold(): column for column in columns}
    output = next((folded[name] for name in OUTPUTS if name in folded), None)
    named = [folded[name] for name in INPUTS if name in folded and folded[name] != output]
    textual = [c for c in columns if c != output and _is_textual(sample, c)]
    if any(isinstance(value, list) for fields in sample for value in fields.values()):
        # What is said stands in the lists; an id or a source beside them says nothing.
        textual = [c for c in textual if c.strip().casefold() not in _ABOUT_ROWS]
    richest = max(textual, key=lambda c: _content(sample, c), default=None)
    chosen = next((c for c in named if c in textual), richest)
    if output is None:
        others = [c for c in columns if c != chosen and c.strip().casefold() not in _ABOUT_ROWS]
        output = next((c for c in others if len(labels_of(sample, c)) > 1), None)
        pairs = len(columns) == len(textual) == 2 and not labels_of(sample, columns[1])
        if output is None and pairs:
            chosen, output = columns  # as pairs are written, the question first
    split = folded.get("split")
    if split is not None:
        said = {str(fields.get(split, "")).strip().casefold() for fields in sample}
        split = split if said <= set(SPLIT_NAMES) else None
    return Guess(chosen, output, labels_of(sample, output) if output else (), split)


def labels_of(sample: Sequence[Mapping[str, Any]], column: str) -> tuple[str, ...]:
    """The labels a column holds; empty where its values are no labels."""
    values = [fields[column] for fields in sample if column in fields]
    if not values or not all(isinstance(v, (str, bool, int)) or v is None for v in values):
        return ()
    texts = [as_text(v) for v in values]
    found = sorted({text for text in texts if text.strip()})
    if len(found) > MOST_LABELS or any(len(label) > LONGEST_LABEL for label in found):
        return ()
    called_so = column.strip().casefold() in _LABELS
    if not called_so and len(texts) < ROWS_PER_LABEL * len(found):
        return ()
    return tuple(found)


def _is_textual(sample: Sequence[Mapping[str, Any]], column: str) -> bool:
    return any(isinstance(f.get(column), str) for f in sample)


def _content(sample: Sequence[Mapping[str, Any]], column: str) -> float:
    """Words of a text on average, times the share of texts that are different.

    Addresses have no words, and names of sources come again and again.
    """
    texts = [f[column] for f in sample if isinstance(f.get(column), str)]
    words = sum(len(text.split()) for text in texts) / max(len(texts), 1)
    return words * len(set(texts)) / max(len(texts), 1)
