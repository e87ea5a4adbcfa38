"""Synthetic instruction data of any size: words as rare as words are, and duplicates put in."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

STARTS = (
    "Write a", "Given a", "Describe the", "Generate a list of", "What is the", "Explain how to",
    "Create a", "Find the", "You are given a", "Rewrite the following sentence so that",
)  # fmt: skip
VOCABULARY = 50_000
SYLLABLES = [a + b for a in "bdfglmnprstv" for b in ("a", "e", "i", "o", "un", "er", "ing", "al")]
SPARE = 1 << 16
"""Words drawn at a time."""


def _english() -> list[str]:
    """The words of luthier's own sentences, commonest first: tokenizers know them."""
    counts: Counter[str] = Counter()
    for name in ("promises.csv", "tense.csv"):
        text = (resources.files("luthier") / "datasets" / name).read_text(encoding="utf-8")
        counts.update(re.findall(r"[a-z]+", text.lower()))
    return [word for word, _ in counts.most_common()]


class Writer:
    """Writes texts of words that follow Zipf's law (rank + 2.7, B. Mandelbrot, 1953)."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.words = _english()
        self.words += [
            "".join(self.chance.choices(SYLLABLES, k=self.chance.randint(1, 4)))
            for _ in range(VOCABULARY - len(self.words))
        ]
        share = np.cumsum(1 / (np.arange(VOCABULARY) + 2.7))
        self._share = share / share[-1]
        self._random = np.random.default_rng(seed)
        self._drawn: list[int] = []

    def text(self, words: int) -> list[str]:
        """So many words."""
        while len(self._drawn) < words:
            drawn = np.searchsorted(self._share, self._random.random(SPARE))
            self._drawn += np.minimum(drawn, VOCABULARY - 1).tolist()
        found, self._drawn = self._drawn[-words:], self._drawn[:-words]
        return [self.words[i] for i in found]

    def size(self, typical: int) -> int:
        """A length around a typical one (log-normal)."""
        return max(3, round(typical * self.chance.lognormvariate(0, 0.5)))

    def changed(self, words: list[str], count: int) -> list[str]:
        """The words with some of them replaced."""
        copy = list(words)
        for place in self.chance.sample(range(len(copy)), min(count, len(copy))):
            copy[place] = self.chance.choice(self.words)
        return copy


def instructions(path: Path, count: int, seed: int) -> None:
    """Instructions as a model writes them: about 16 words, every fifth like an earlier one."""
    writer = Writer(seed)
    seen: list[list[str]] = []
    with open(path, "w", encoding="utf-8") as file:
        for number in range(count):
            if seen and number % 5 == 0:
                words = writer.changed(writer.chance.choice(seen), writer.chance.randint(1, 6))
            else:
                words = [*writer.chance.choice(STARTS).split(), *writer.text(writer.size(12))]
            seen.append(words)
            file.write(json.dumps({"instruction": " ".join(words)}) + "\n")


@dataclass
class Planted:
    """Pairs that were put into a file."""

    near: list[tuple[int, int]]
    """Numbers of rows with a Jaccard similarity of 0.8 to 0.84, the later one second."""
    below: list[tuple[int, int]]
    """Rows that are alike and yet below 0.8."""


def texts(path: Path, count: int, seed: int) -> Planted:
    """Rows of about 60 words; one in fifty nearly repeats an earlier one."""
    writer = Writer(seed)
    planted = Planted([], [])
    kept: list[tuple[int, list[str]]] = []
    with open(path, "w", encoding="utf-8") as file:
        for number in range(count):
            words = writer.text(max(30, writer.size(60)))
            if kept and number % 50 == 0:
                # An original is copied once, so that every copy has one row that it repeats.
                first, original = kept.pop(writer.chance.randrange(len(kept)))
                words = writer.changed(original, len(original) // (30 if number % 100 else 10))
                alike = jaccard(words, original)
                (planted.near if alike >= 0.8 else planted.below).append((first, number))
            elif number % 7 == 0:
                kept.append((number, words))
            file.write(json.dumps({"id": str(number), "text": " ".join(words)}) + "\n")
    return planted


def jaccard(one: list[str], other: list[str]) -> float:
    """Similarity of the sets of word 3-grams."""
    a, b = (set(zip(w, w[1:], w[2:], strict=False)) for w in (one, other))
    return len(a & b) / len(a | b)


def corpus(path: Path, *, rows: int | None, size: int | None, seed: int) -> int:
    """An Alpaca-like file with one near-duplicate in a hundred, copies, and a few broken lines.

    Args:
        path: the JSONL file.
        rows: how many lines; None: as many as `size` takes.
        size: bytes.
        seed: decides everything.

    Returns:
        The number of lines.
    """
    written = count = 0
    with open(path, "w", encoding="utf-8") as file:
        for line in _corpus_lines(seed):
            if count == rows or (size is not None and written >= size):
                break
            file.write(line)
            written += len(line)
            count += 1
    return count


def _corpus_lines(seed: int) -> Iterator[str]:
    writer = Writer(seed)
    last: list[dict[str, Any]] = []
    number = 0
    while True:
        number += 1
        if number % 10_000 == 0:
            yield '{"instruction": "cut off in the mid\n'
            continue
        if last and number % 100 == 0:
            row = dict(writer.chance.choice(last))
            row["output"] = " ".join(writer.changed(row["output"].split(), number // 100 % 3))
        else:
            start = writer.chance.choice(STARTS)
            row = {
                "instruction": " ".join([start, *writer.text(writer.size(12))]) + ".",
                "input": " ".join(writer.text(writer.size(40))) if number % 2 else "",
                "output": " ".join(writer.text(writer.size(60))).capitalize() + ".",
            }
            if number % 97 == 0:
                last = [*last[-99:], row]
        yield json.dumps(row) + "\n"
