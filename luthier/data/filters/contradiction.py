"""Rejects rows that ask what an earlier row asks and answer something else."""

from __future__ import annotations

from array import array

from luthier.data.candidate import Candidate, Filter
from luthier.data.ids import Ids
from luthier.data.linting.closed_questions import MOST_CHARACTERS, clash, is_closed
from luthier.data.linting.lint_report import Severity
from luthier.data.linting.passages import excerpt
from luthier.data.places import Places
from luthier.errors import DataError
from luthier.example import content_id

SEVERITY: Severity = "error"
WARNINGS = frozenset({"unlike answers"})
FIX = "Decide which answer is right and delete the other row."


def build(*, max_words: int = 4) -> Filter:
    """Same question, another answer. Case and white space do not make two questions different.

    In free text only closed questions, told by their form, have answers that contradict each other:
    two poems about the sea do not, nor do two colours that people like. It is a contradiction where
    one says yes and the other no, or where they give other numbers; names that have nothing in
    common are `unlike answers`, since a thing may have two names.

    Args:
        max_words: longest answer in free text that can contradict another, which may be longer.
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
        """The first answers behind each other; of labels an excerpt."""
        self.ends = array("Q")
        self.closed = False
        """Whether the row that is judged has one right answer; then it may be remembered."""

    def __call__(self, row: Candidate) -> str | None:
        self.closed = _may_contradict(row)
        if not self.closed:
            return None
        first = self.questions.number(_question(row))
        if first is None or self.said[first] == _number(row.answer):
            return None
        start = self.ends[first - 1] if first else 0
        other = self.shown[start : self.ends[first]].decode("utf-8", "surrogatepass")
        what: str | None = "contradiction"
        if row.example.label is None:
            what = clash(row.question, other, row.answer, self.max_words)
        if what is None:
            return None
        return f"{what}: {self.places[first]} answers '{excerpt(other)}' to the same input"

    def remember(self, row: Candidate) -> None:
        if self.closed and self.questions.number(question := _question(row)) is None:
            self.questions.add(question)
            self.places.append(row.example.origin)
            self.said.append(_number(row.answer))
            shown = row.answer if row.example.label is None else excerpt(row.answer)
            self.shown += shown.encode("utf-8", "surrogatepass")
            self.ends.append(len(self.shown))


def _may_contradict(row: Candidate) -> bool:
    """Whether only one answer can be right."""
    if row.example.label is not None:
        return True
    if not row.example.messages or len(row.example.messages) > 3:
        return False
    return len(row.answer) <= MOST_CHARACTERS and is_closed(row.question)


def _question(row: Candidate) -> int:
    asked = row.question
    if row.example.label is None and row.example.messages[0].role == "system":
        asked = f"{row.example.messages[0].content}\n{asked}"
    return _number(" ".join(asked.casefold().split()))


def _number(text: str) -> int:
    return int(content_id([text]), 16)
