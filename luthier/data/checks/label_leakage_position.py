"""The label can be told from where a row stands in its file: sorted, or in turns."""

from __future__ import annotations

from luthier.data.association import Association
from luthier.data.candidate import Candidate
from luthier.data.dataset_check import Context, DatasetCheck, Need
from luthier.data.lint_report import LintFinding
from luthier.data.rows import Row

NEEDS: tuple[Need, ...] = ("labels",)
_FEWEST, _ACCURACY, _MAJORITY = 30, 0.9, 0.8


def build(context: Context) -> DatasetCheck:
    """The label of a row against that of the row before it, in the same file."""
    return _LabelLeakagePosition()


class _LabelLeakagePosition:
    def __init__(self) -> None:
        self.found = Association()
        self.before: tuple[str, str] | None = None
        self.equal = 0

    def see(self, row: Candidate, raw: Row) -> None:
        label, source = row.example.label, row.example.origin.source
        if label is None:
            return
        if self.before is not None and self.before[0] == source:
            self.found.add(self.before[1], label)
            self.equal += self.before[1] == label
        self.before = (source, label)

    def findings(self) -> list[LintFinding]:
        accuracy, majority = self.found.strength()
        rows = self.found.rows
        weak = rows < _FEWEST or accuracy < _ACCURACY or majority > _MAJORITY
        if weak or not self.found.is_no_accident():
            return []
        how = "Rows are sorted by label" if self.equal > rows / 2 else "Labels come in turns"
        return [
            LintFinding(
                check="label_leakage_position", what="label leakage", severity="warning", count=1,
                message=f"{how}: the row before tells the label in {accuracy:.0%} of the rows (the "
                f"commonest label: {majority:.0%}).",
                fix="Shuffle the file: whatever takes its first rows (limit, a preview, a split by "
                "position) gets the wrong labels.",
            )
        ]  # fmt: skip
