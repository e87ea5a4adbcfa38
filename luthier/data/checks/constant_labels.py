"""Every row has the same label, or the same answer."""

from __future__ import annotations

from collections import Counter

from luthier.data.candidate import Candidate
from luthier.data.linting.dataset_check import Context, DatasetCheck, Need
from luthier.data.linting.lint_report import LintFinding
from luthier.data.linting.passages import excerpt
from luthier.data.rows import Row

NEEDS: tuple[Need, ...] = ()
_FEWEST = 10
"""Rows of free text from which one answer for all is no accident."""


def build(context: Context) -> DatasetCheck:
    """Tasks 201 and 903 of Natural Instructions have one label only (its issues 468 and 610)."""
    return _ConstantLabels()


class _ConstantLabels:
    def __init__(self) -> None:
        self.rows = 0
        self.labels: Counter[str] = Counter()
        self.answer: str | None = None
        self.same = True
        self.questions: set[int] = set()

    def see(self, row: Candidate, raw: Row) -> None:
        if not row.example.messages:
            return
        self.rows += 1
        if row.example.label is not None and len(self.labels) < 2:
            self.labels[row.example.label] += 1
        if self.same:
            self.answer = row.answer if self.answer is None else self.answer
            self.same = row.answer == self.answer
            if len(self.questions) < 2:
                self.questions.add(hash(row.question))

    def findings(self) -> list[LintFinding]:
        fewest = 2 if self.labels else _FEWEST
        if not self.same or self.rows < fewest or len(self.questions) < 2 or not self.answer:
            return []
        what = "label" if self.labels else "answer"
        return [
            LintFinding(
                check="constant_labels", what=f"constant {what}", severity="error", count=1,
                message=f"All {self.rows:,} rows have the {what} '{excerpt(self.answer, 40)}'.",
                fix="Add rows with other answers; a model learns to say this always.",
            )
        ]  # fmt: skip
