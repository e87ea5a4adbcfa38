"""Rejects rows that ask what an earlier row asks and answer something else."""

from __future__ import annotations

import re
from array import array

from luthier.data.candidate import Candidate, Filter
from luthier.data.ids import Ids
from luthier.data.linting.lint_report import Severity
from luthier.data.linting.passages import excerpt
from luthier.data.places import Places
from luthier.errors import DataError
from luthier.example import content_id

SEVERITY: Severity = "error"
FIX = "Decide which answer is right and delete the other row."
_ONLY_LETTERS = re.compile(r"[\W_]+")
# Tasks with many right answers.
_OPEN = re.compile(
    r"\b(?:name an?|suggest|give|generate|create|write|list|pick|think of|come up|invent|recommend"
    r"|random"
    r"|compose|brainstorm|tell me an?|make|an? example|any|rewrite|rephrase|paraphrase|translate"
    r"|summari[sz]e|describe|choose|imagine|favou?rite|ideas?|synonyms?|antonyms?)\b",
    re.IGNORECASE,
)


def build(*, max_words: int = 4) -> Filter:
    """Same question, another answer. Case and white space do not make two questions different.

    In free text only short answers to closed questions contradict each other: two poems about the
    sea do not, nor do two colours that people like.

    Args:
        max_words: longest answer in free text that can contradict another.
    """
    if isinstance(max_words, bool) or not isinstance(max_words, int):
        raise DataError(
            f"filter 'contradiction': max_words is {max_words!r}, expected a whole number."
        )
    return _Contradiction(max_words)


class _Contradiction:
    def __init__(self, max_words: int) -> None:
        self.max_words = max_words
        self.questions = Ids()
        self.places = Places()
        self.said = array("Q")
        """Per question a hash of its first answer."""
        self.shown = bytearray()
        """Excerpts of the first answers behind each other."""
        self.ends = array("Q")

    def __call__(self, row: Candidate) -> str | None:
        if not self._is_closed(row):
            return None
        first = self.questions.number(_question(row))
        if first is None or self.said[first] == _number(_answer(row)):
            return None
        start = self.ends[first - 1] if first else 0
        shown = self.shown[start : self.ends[first]].decode("utf-8", "surrogatepass")
        return f"contradiction: {self.places[first]} answers '{shown}' to the same input"

    def remember(self, row: Candidate) -> None:
        if self._is_closed(row) and self.questions.number(question := _question(row)) is None:
            self.questions.add(question)
            self.places.append(row.example.origin)
            self.said.append(_number(_answer(row)))
            self.shown += excerpt(row.answer).encode("utf-8", "surrogatepass")
            self.ends.append(len(self.shown))

    def _is_closed(self, row: Candidate) -> bool:
        """Whether only one answer can be right."""
        if row.example.label is not None:
            return True
        if not row.example.messages or len(row.example.messages) > 3:
            return False
        # Eight letters a word and no more: Chinese puts no spaces between them.
        short = len(row.answer) <= 8 * self.max_words and len(row.answer.split()) <= self.max_words
        return short and not _OPEN.search(row.question)


def _question(row: Candidate) -> int:
    return _number(" ".join(row.question.casefold().split()))


def _answer(row: Candidate) -> str:
    if row.example.label is not None:
        return row.answer
    return _ONLY_LETTERS.sub(" ", row.answer.casefold()).strip() or row.answer


def _number(text: str) -> int:
    return int(content_id([text]), 16)
