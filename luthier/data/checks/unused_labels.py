"""A label of the task has no row."""

from __future__ import annotations

from luthier.data.candidate import Candidate
from luthier.data.linting.dataset_check import Context, DatasetCheck, Need
from luthier.data.linting.lint_report import LintFinding
from luthier.data.rows import Row

NEEDS: tuple[Need, ...] = ("label set",)


def build(context: Context) -> DatasetCheck:
    """Labels of `task.labels` that no row has; a build without training rows of a label fails."""
    return _UnusedLabels(context)


class _UnusedLabels:
    def __init__(self, context: Context) -> None:
        self.unused = dict.fromkeys(context.labels)

    def see(self, row: Candidate, raw: Row) -> None:
        if self.unused and row.example.label in self.unused:
            del self.unused[row.example.label]

    def findings(self) -> list[LintFinding]:
        return [
            LintFinding(
                check="unused_labels", what="unused label", severity="error", count=1,
                message=f"No row has the label '{label}' of task.labels.",
                fix="Add rows of it, correct its spelling, or take it out of task.labels.",
            )
            for label in self.unused
        ]  # fmt: skip
