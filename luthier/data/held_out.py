"""Rows of test files, and whether another row is one of them, word for word or nearly."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.data.candidate import Candidate
from luthier.data.linting.passages import excerpt
from luthier.data.near import NearIndex
from luthier.data.places import Places
from luthier.example import content_id

_WORDS = 13
_COMMON = 10
"""Test rows with the same 13 words from which they are the test's wording, not its content."""
_DEPTH = 4
"""Levels of lists and objects in a column that are looked into."""
_NO_SPACES = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
# Case and punctuation do not count; in scripts without spaces every character is a word.
_WORD = re.compile(f"[{_NO_SPACES}]|[^\\W_{_NO_SPACES}]+")


class HeldOut:
    """Rows that nothing may resemble.

    Args:
        files: test files, in any format that can be read.
        similarity: Jaccard similarity of questions from which they are the same.
        rows: test rows that are at hand, beside those of the files.
    """

    def __init__(
        self,
        files: Sequence[str] = (),
        similarity: float = 0.8,
        *,
        rows: Iterable[Candidate] = (),
    ) -> None:
        # It finds filters, and so this one, by name.
        from luthier.data.linting.reading import rows_of

        self.places = Places()
        self.questions: dict[str, int] = {}
        self.near = NearIndex(similarity)
        grams: list[NDArray[np.int64]] = []
        owners: list[NDArray[np.int64]] = []
        wanting = "nothing can be kept apart from it"
        of_files = (row for name in files for row in rows_of(name, wanting))
        for number, row in enumerate(chain(of_files, rows)):
            self.places.append(row.example.origin)
            words = _words(row.question)
            if words:
                self.questions.setdefault(_key(words), number)
            self.near.add(self.near.entry(row.question))
            others = (_grams(_words(text)) for text in _texts(row.example.fields))
            found = np.unique(np.concatenate([_grams(words), _grams(_words(row.answer)), *others]))
            grams.append(found)
            owners.append(np.full(len(found), number))
        empty = np.zeros(0, np.int64)
        self.grams, first, counts = np.unique(
            np.concatenate([empty, *grams]), return_index=True, return_counts=True
        )
        self.owners = np.concatenate([empty, *owners])[first]
        self.rare = counts <= _COMMON

    def like(self, question: str, answer: str = "") -> str | None:
        """The test row that a row is like, and how; None where it is like none."""
        if not len(self.places):
            return None
        words = _words(question)
        if words and (same := self.questions.get(_key(words))) is not None:
            return f"the question is that of {self.places[same]}"
        for where, said in (("question", words), ("answer", _words(answer))):
            if hit := self._shared(said):
                place, number = hit
                shown = excerpt(" ".join(said[place : place + _WORDS]), 50)
                return f"13 words of the {where} are in {self.places[number]} ('{shown}')"
        if words and (near := self.near.similar(self.near.entry(question))):
            number, similarity = max(near, key=lambda pair: pair[1])
            return f"{similarity:.2f} similar to {self.places[number]}"
        return None

    def _shared(self, words: Sequence[str]) -> tuple[int, int] | None:
        """Where 13 words begin that a test row has too, and the row."""
        grams = _grams(words)
        if not len(grams) or not len(self.grams):
            return None
        at = np.minimum(np.searchsorted(self.grams, grams), len(self.grams) - 1)
        hits = np.flatnonzero((self.grams[at] == grams) & self.rare[at])
        return (int(hits[0]), int(self.owners[at[hits[0]]])) if len(hits) else None


def _texts(value: Any, depth: int = 0) -> Iterator[str]:
    """The texts of a row in whatever columns: a passage, choices, a hypothesis."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple) and depth < _DEPTH:
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(inner, depth + 1)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _key(words: Sequence[str]) -> str:
    return content_id([" ".join(words)])


def _grams(words: Sequence[str]) -> NDArray[np.int64]:
    """A number for each 13 words that follow each other; only good within this process."""
    count = len(words) - _WORDS + 1
    return np.array([hash(tuple(words[i : i + _WORDS])) for i in range(count)], np.int64)
