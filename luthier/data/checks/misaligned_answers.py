"""Answers fit the question of the row before or after better than their own."""

from __future__ import annotations

import math
import re

from luthier.data.candidate import Candidate
from luthier.data.linting.dataset_check import Context, DatasetCheck, Need
from luthier.data.linting.lint_report import LintFinding
from luthier.data.rows import Row

NEEDS: tuple[Need, ...] = ()
_FEWEST, _TIMES, _LEAST, _DEVIATIONS = 30, 2.0, 0.1, 6.0
_WORD = re.compile(r"[^\W\d_]{5,}")
_READ = 600
"""Characters of question and answer that are compared."""


def build(context: Context) -> DatasetCheck:
    """Shared words of five letters or more, of each answer with three neighbouring questions.

    Columns that were sorted or joined apart shift by a row; no row looks wrong alone.
    """
    return _MisalignedAnswers(context)


class _Shift:
    """Running mean and deviation of how much better a shifted question fits."""

    def __init__(self) -> None:
        self.rows, self.own, self.other, self.squares = 0, 0.0, 0.0, 0.0

    def add(self, own: float, other: float) -> None:
        self.rows += 1
        self.own += own
        self.other += other
        self.squares += (other - own) ** 2

    def is_better(self) -> bool:
        if self.rows < _FEWEST:
            return False
        own, other = self.own / self.rows, self.other / self.rows
        gain = other - own
        deviation = math.sqrt(max(self.squares / self.rows - gain**2, 1e-12) / self.rows)
        return other >= _LEAST and other >= _TIMES * own and gain >= _DEVIATIONS * deviation


class _MisalignedAnswers:
    def __init__(self, context: Context) -> None:
        self.used = context.kind != "classification"
        self.before: tuple[str, frozenset[str], frozenset[str]] | None = None
        self.earlier, self.later = _Shift(), _Shift()

    def see(self, row: Candidate, raw: Row) -> None:
        if not self.used or not row.example.messages or len(row.example.messages) > 3:
            return
        question, answer = _content(row.question), _content(row.answer)
        source = row.example.origin.source
        if self.before is not None and self.before[0] == source:
            _, asked, answered = self.before
            own = _shared(question, answer)
            self.earlier.add(own, _shared(asked, answer))
            self.later.add(_shared(asked, answered), _shared(question, answered))
        self.before = (source, question, answer)

    def findings(self) -> list[LintFinding]:
        found = []
        for shift, where in ((self.earlier, "before"), (self.later, "after")):
            if shift.is_better():
                own, other = shift.own / shift.rows, shift.other / shift.rows
                found.append(
                    LintFinding(
                        check="misaligned_answers", what="shifted answers", severity="error",
                        count=shift.rows,
                        message=f"Answers share {other:.0%} of the words of the question {where} "
                        f"theirs, and {own:.0%} of their own.",
                        fix="Join questions and answers again: one column is shifted by a row.",
                    )
                )  # fmt: skip
        return found


def _content(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text[:_READ].casefold()))


def _shared(question: frozenset[str], answer: frozenset[str]) -> float:
    return len(question & answer) / len(question) if question else 0.0
