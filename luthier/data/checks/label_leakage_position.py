"""The label can be told from where a row stands in its file: sorted, or in turns."""

from __future__ import annotations

from collections import Counter

from luthier.data.candidate import Candidate
from luthier.data.linting.association import Association
from luthier.data.linting.dataset_check import Context, DatasetCheck, Need
from luthier.data.linting.lint_report import LintFinding
from luthier.data.rows import Row

NEEDS: tuple[Need, ...] = ("labels",)
_FEWEST, _ACCURACY, _MAJORITY = 30, 0.9, 0.8
_MOST_SOURCES = 100


def build(context: Context) -> DatasetCheck:
    """The label of a row against that of the row before it, in the same file."""
    return _LabelLeakagePosition()


class _LabelLeakagePosition:
    def __init__(self) -> None:
        self.found: dict[str, Association] = {}
        self.equal: Counter[str] = Counter()
        self.before: dict[str, str] = {}

    def see(self, row: Candidate, raw: Row) -> None:
        label, source = row.example.label, row.example.origin.source
        if label is None or (source not in self.found and len(self.found) >= _MOST_SOURCES):
            return
        found = self.found.setdefault(source, Association())
        if source in self.before:
            found.add(self.before[source], label)
            self.equal[source] += self.before[source] == label
        self.before[source] = label

    def findings(self) -> list[LintFinding]:
        return [
            self._finding(source, association)
            for source, association in self.found.items()
            if association.rows >= _FEWEST and _is_told(association)
        ]

    def _finding(self, source: str, association: Association) -> LintFinding:
        accuracy, majority = association.strength()
        often = self.equal[source] > association.rows / 2
        how = "rows are sorted by label" if often else "labels come in turns"
        return LintFinding(
            check="label_leakage_position", what="label leakage", severity="warning", count=1,
            message=f"{source}: {how}; the row before tells the label in {accuracy:.0%} of them "
            f"(the commonest label: {majority:.0%}).",
            fix="Shuffle the file: whatever takes its first rows (limit, a preview, a split by "
            "position) gets the wrong labels.",
        )  # fmt: skip


def _is_told(association: Association) -> bool:
    accuracy, majority = association.strength()
    return accuracy >= _ACCURACY and majority <= _MAJORITY and association.is_no_accident()
