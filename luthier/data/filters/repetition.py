"""Rejects rows whose answer says the same over and over, as a model does in a loop."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np

from luthier.data.candidate import Candidate, Filter
from luthier.data.linting.lint_report import Severity
from luthier.data.linting.passages import answers, excerpt, has_code
from luthier.errors import DataError

SEVERITY: Severity = "warning"
FIX = "Cut the repetition, or generate the answer again."
_LONGEST = 20
"""Words of a phrase that is looked for."""
_LEAST_WORDS = 20
"""That the repetitions of a phrase have together."""
_LONG_WORD = 40
"""Characters of a word, or of a line of a script without spaces, in which a loop is looked for."""
_LAST = 2000
"""Of such a line, from its end."""
_INSIDE = re.compile(r"(.{1,30}?)\1{3,}")
_REPEATS = re.compile(
    r"\b(?:repeat\w*|times|lyrics|songs?|chorus\w*|chants?|poems?|loops?|refrains?|mantras?"
    r"|rhymes?|arrays?"
    r"|matri(?:x|ces)|patterns?|nursery|hymns?|raps?|drills?|sequences?|tables?|echo)\b",
    re.IGNORECASE,
)


def build(*, times: int = 4) -> Filter:
    """A phrase of up to 20 words that follows itself, in all at least 20 words.

    In a word, or where nothing stands between words, up to 30 signs, in all at least 40.

    Rows that ask for repetition (a song, a table, `ten times`) pass, and so does code. The rule is
    luthier's; the same idea on whole documents is in Gopher (arXiv 2112.11446, table A1).

    Args:
        times: how often a phrase stands in a row, at least.
    """
    if isinstance(times, bool) or not isinstance(times, int) or times < 2:
        raise DataError(f"filter 'repetition': times is {times!r}, expected a whole number from 2.")

    def repetition(row: Candidate) -> str | None:
        if row.labels:
            return None
        for where, text in answers(row):
            words = text.split()
            found = _loop(words, times)
            if not found and max(map(len, words), default=0) >= _LONG_WORD:
                found = _loop_inside(max(words, key=len)[-_LAST:], times)
            if found and not _REPEATS.search(row.question) and not has_code(text):
                return f"repetition: '{excerpt(found, 40)}' over and over in the {where}"
        return None

    return repetition


def _loop(words: list[str], times: int) -> str:
    """A phrase that follows itself often enough; empty where there is none."""
    # In a loop every three words come again nearly as often as the phrase does.
    threes = Counter(zip(words, words[1:], words[2:], strict=False))
    if len(words) < _LEAST_WORDS or max(threes.values()) < times - 1:
        return ""
    numbers: dict[str, int] = {}
    ids = [numbers.setdefault(word, len(numbers)) for word in words]
    array = np.array(ids)
    for period in range(1, min(_LONGEST, len(ids) // times) + 1):
        same = np.concatenate([[False], array[period:] == array[:-period], [False]])
        edges = np.flatnonzero(same[1:] != same[:-1])
        if not len(edges):
            continue
        lengths = edges[1::2] - edges[::2]
        best = int(lengths.argmax())
        start = int(edges[2 * best])
        phrase = words[start : start + period]
        spoken = any(c.isalpha() for word in phrase for c in word)
        if spoken and lengths[best] + period >= max(times * period, _LEAST_WORDS):
            return " ".join(phrase)
    return ""


def _loop_inside(word: str, times: int) -> str:
    """Signs of one word that follow themselves often enough; empty where there are none."""
    for found in _INSIDE.finditer(word):
        often = len(found.group()) // len(found[1])
        if often >= times and len(found.group()) >= _LONG_WORD and any(map(str.isalpha, found[1])):
            return found[1]
    return ""
