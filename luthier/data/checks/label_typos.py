"""A label that hardly any row has is one letter away from a common one."""

from __future__ import annotations

from collections import Counter

from luthier.data.candidate import Candidate
from luthier.data.linting.dataset_check import Context, DatasetCheck, Need
from luthier.data.linting.label_spelling import meant
from luthier.data.linting.lint_report import LintFinding, Place
from luthier.data.rows import Row
from luthier.example import Origin

NEEDS: tuple[Need, ...] = ("labels",)
_MOST_LABELS = 1000


def build(context: Context) -> DatasetCheck:
    """Where nobody declared the labels: a spelling that is likely a slip of the keyboard."""
    return _LabelTypos(context)


class _LabelTypos:
    def __init__(self, context: Context) -> None:
        self.declared = bool(context.labels)
        self.counts: Counter[str] = Counter()
        self.first: dict[str, Origin] = {}

    def see(self, row: Candidate, raw: Row) -> None:
        label = row.example.label
        if label is not None and (label in self.counts or len(self.counts) < _MOST_LABELS):
            self.counts[label] += 1
            self.first.setdefault(label, row.example.origin)

    def findings(self) -> list[LintFinding]:
        if self.declared:  # the filter `labels` names each of them
            return []
        return [
            self._finding(rare, common)
            for rare in self.counts
            if (common := meant(rare, self.counts)) is not None
        ]

    def _finding(self, rare: str, common: str) -> LintFinding:
        count = self.counts[rare]
        return LintFinding(
            check="label_typos", what="label typo", severity="warning", count=count,
            message=f"'{rare}' ({count}) looks like '{common}' ({self.counts[common]:,}).",
            fix=f"Write '{common}', or declare both in task.labels.",
            places=[Place(where=str(self.first[rare]), said=f"the first '{rare}'")],
        )  # fmt: skip
