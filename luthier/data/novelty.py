"""ROUGE-L novelty, decided as Self-Instruct decides it and some thousand times faster.

Self-Instruct (Y. Wang et al., arXiv 2212.10560, section 2.2) takes a new instruction into its pool
if its ROUGE-L F1 with none that is there exceeds 0.7. Its code measures every pair with the
package `rouge_score`; this measures the few that can exceed the threshold. Decisions and scores
are the same to the last bit, ties at the threshold included: F1 is computed by the same expression
in the same order, 2 p r / (p + r), which for 50 of the 86 pairs of lengths up to 60 words with an
F1 of 7/10 gives 0.7000000000000001.

A pair above the threshold t has a longest common subsequence (LCS) above t (m + n) / 2 words,
and so at least as many words in common. Texts that share too few of the rarer words of a new one
are never looked at (C. Li, J. Lu, Y. Lu, "Efficient merging and filtering algorithms for
approximate string searches", 2008); the LCS of the others is computed bit by bit in parallel
(H. Hyyrö, 2004) by rapidfuzz.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import LCSseq
from rapidfuzz.process import cdist

from luthier.data.words import hashed_words

THRESHOLD = 0.7
"""Of Self-Instruct, and of Alpaca after it."""
MOST_SIMILAR = 10
"""How many of the most similar texts Self-Instruct stores."""
UNSEEN_SHARE = 0.05
"""Share of texts in other letters than the tokenizer's from which it is worth a warning."""
_FEWEST_UNSEEN = 3
_TOKEN = re.compile(r"[a-z0-9]+")
_SLACK = 1e-6
"""Bounds on whole numbers of words are taken this much lower; what passes is measured exactly."""
_LAST_SIGN = 0x10FFFF
_COMMON = 64
"""A word that more than one in so many texts of the pool has is common."""
Encoded = str | tuple[int, ...]
Counts = NDArray[np.int32]


def rouge_tokens(text: str) -> list[str]:
    """The words of a text as `rouge_score` has them without a stemmer."""
    return _TOKEN.findall(text.lower())


def rouge_l(common: Counts, one: int, others: Counts) -> NDArray[np.float64]:
    """F1 of a text with others, computed as `rouge_score.scoring.fmeasure` does.

    Args:
        common: length of the longest common subsequence with each of the others.
        one: words of the text, at least one.
        others: words of each of the others, at least one.
    """
    precision, recall = common / others, common / one
    above = np.maximum(precision + recall, np.finfo(np.float64).tiny)
    found: NDArray[np.float64] = 2 * precision * recall / above
    return found


@dataclass(slots=True)
class Words:
    """A text as the pool sees it."""

    encoded: Encoded
    """A sign or number for every word."""
    keys: list[int]
    """A number for every word, another one where it comes again: their set holds how often."""


class Closest(NamedTuple):
    """The text of the pool that a text resembles most."""

    number: int
    score: float


class Scores(NamedTuple):
    """What Self-Instruct stores of an accepted instruction."""

    most_similar: list[Closest]
    """The ten most similar texts of the pool, the most similar first."""
    average: float
    """Mean score over the pool."""
    highest: float


@dataclass
class NoveltyPool:
    """Texts that new ones must differ from."""

    threshold: float = THRESHOLD
    """A text is novel if no score exceeds this."""
    unicode: bool = False
    """Off, words are what `rouge_score` takes for words: runs of a-z and 0-9. On, those of any
    script (see `words.py`); scores then differ for texts that have other letters."""
    read_texts: int = 0
    unseen_texts: int = 0
    """Those of which the tokenizer does not see most letters."""
    _codes: dict[str | int, int] = field(default_factory=dict)
    _postings: dict[int, array[int]] = field(default_factory=dict)
    _encoded: list[Encoded] = field(default_factory=list)
    _lengths: array[int] = field(default_factory=lambda: array("i"))

    def __len__(self) -> int:
        """How many texts are in the pool."""
        return len(self._encoded)

    def read(self, text: str) -> Words:
        """Turn a text into words, to be compared with the pool or added to it."""
        words: Sequence[str | int]
        if self.unicode:
            words = hashed_words([text])[0].tolist()
        else:
            words = rouge_tokens(text)
            if not text.isascii():
                letters = sum(map(str.isalnum, text))
                self.unseen_texts += 2 * sum(map(len, words)) < letters
        self.read_texts += 1
        codes = [self._codes.setdefault(word, len(self._codes)) for word in words]
        large = any(code > _LAST_SIGN for code in codes)
        encoded: Encoded = tuple(codes) if large else "".join(map(chr, codes))
        if len(set(codes)) == len(codes):
            return Words(encoded, codes)
        seen: Counter[int] = Counter()
        for place, code in enumerate(codes):
            codes[place] |= seen[code] << 32
            seen[code] += 1
        return Words(encoded, codes)

    def add(self, words: Words) -> int:
        """Put a text into the pool; returns its number (0, 1, ...)."""
        number = len(self._encoded)
        for key in words.keys:
            found = self._postings.get(key)
            if found is None:
                found = self._postings[key] = array("i")
            found.append(number)
        self._encoded.append(words.encoded)
        self._lengths.append(len(words.encoded))
        return number

    def closest(self, words: Words) -> Closest | None:
        """The most similar text of the pool, the first of several; None if the text is novel."""
        size = len(words.encoded)
        numbers = self._candidates(words)
        if not len(numbers):
            return None
        lengths = np.frombuffer(self._lengths, np.int32)[numbers]
        scores = rouge_l(self._common(words, numbers.tolist()), size, lengths)
        best = int(scores.argmax())
        if scores[best] <= self.threshold:
            return None
        return Closest(int(numbers[best]), float(scores[best]))

    def scores(self, words: Words) -> Scores | None:
        """Scores with every text of the pool; None while it is empty.

        `most_similar` and `average` are computed by the calls of Self-Instruct's code, so that
        equal scores come in its order and sums are rounded alike.
        """
        if not self._encoded:
            return None
        scores = np.zeros(len(self._encoded))
        if words.encoded:
            lengths = np.frombuffer(self._lengths, np.int32)
            filled = np.maximum(lengths, 1)
            scores = rouge_l(self._common(words, None), len(words.encoded), filled)
        top = np.argsort(scores)[-MOST_SIMILAR:][::-1]
        closest = [Closest(int(n), float(scores[n])) for n in top]
        return Scores(closest, float(np.mean(scores)), float(scores.max()))

    @property
    def warning(self) -> str | None:
        """What to say where the tokenizer does not see most of many texts."""
        few = self.unseen_texts < max(_FEWEST_UNSEEN, UNSEEN_SHARE * self.read_texts)
        if few:
            return None
        return (
            f"novelty: {self.unseen_texts:,} of {self.read_texts:,} texts are mostly in letters "
            "that rouge_score's tokenizer does not see (it knows a-z and 0-9), so they are hardly "
            "compared. Say `unicode: true` to compare words of every script."
        )

    def _common(self, words: Words, numbers: Sequence[int] | None) -> Counts:
        """LCS with some texts of the pool, or all."""
        others = self._encoded if numbers is None else [self._encoded[n] for n in numbers]
        found: Counts = cdist([words.encoded], others, scorer=LCSseq.similarity, dtype=np.int32)[0]
        return found

    def _candidates(self, words: Words) -> Counts:
        """Texts that have enough words in common to be above the threshold, in order."""
        half, size = self.threshold / 2, len(words.encoded)
        shortest = max(1, int(np.ceil(half * size / (1 - half) - _SLACK)))
        # Words that even the shortest text that can be above the threshold must share.
        needed = max(1, int(np.ceil(half * (size + shortest) - _SLACK)))
        lists = sorted((p for k in words.keys if (p := self._postings.get(k))), key=len)
        # So many of them that it cannot have only the commonest words, which are then not read.
        skipped = min(needed - 1, sum(len(p) > len(self) // _COMMON for p in lists))
        lists = lists[: len(lists) - skipped]
        if len(lists) + skipped < needed:
            return np.zeros(0, np.int32)
        every = np.concatenate([np.frombuffer(p, np.int32) for p in lists])
        every.sort()
        firsts = np.flatnonzero(np.diff(every, prepend=-1))
        shared = np.diff(firsts, append=len(every))
        numbers = every[firsts]
        lengths = np.frombuffer(self._lengths, np.int32)[numbers]
        enough = shared + skipped >= half * (size + lengths) - _SLACK
        found: Counts = numbers[enough]
        return found
