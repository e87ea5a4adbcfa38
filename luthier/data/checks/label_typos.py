"""A label that hardly any row has is one letter away from a common one."""

from __future__ import annotations

from luthier.data.candidate import Candidate
from luthier.data.linting.dataset_check import Context, DatasetCheck, Need
from luthier.data.linting.label_spelling import LabelCounts, meant
from luthier.data.linting.lint_report import LintFinding, Place
from luthier.data.rows import Row

NEEDS: tuple[Need, ...] = ("labels",)
_MOST_LABELS = 1000


def build(context: Context) -> DatasetCheck:
    """Where nobody declared the labels: a spelling that is likely a slip of the keyboard."""
    return _LabelTypos(context)


class _LabelTypos:
    def __init__(self, context: Context) -> None:
        self.declared = bool(context.labels)
        self.counts = LabelCounts(_MOST_LABELS)

    def see(self, row: Candidate, raw: Row) -> None:
        self.counts.see(row)

    def findings(self) -> list[LintFinding]:
        if self.declared:  # the filter `labels` names each of them
            return []
        return [
            self._finding(rare, common)
            for rare in self.counts.rows
            if (common := meant(rare, self.counts.rows)) is not None
        ]

    def _finding(self, rare: str, common: str) -> LintFinding:
        count = self.counts.rows[rare]
        return LintFinding(
            check="label_typos", what="label typo", severity="warning", count=count,
            message=f"'{rare}' ({count}) looks like '{common}' ({self.counts.rows[common]:,}).",
            fix=f"Write '{common}', or declare both in task.labels.",
            places=[Place(where=str(self.counts.first[rare]), said=f"the first '{rare}'")],
        )  # fmt: skip
