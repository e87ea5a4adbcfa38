"""The label can be told from the file a row comes from."""

from __future__ import annotations

from luthier.data.candidate import Candidate
from luthier.data.linting.association import Association
from luthier.data.linting.dataset_check import Context, DatasetCheck, Need
from luthier.data.linting.lint_report import LintFinding
from luthier.data.rows import Row

NEEDS: tuple[Need, ...] = ("labels",)
_FEWEST, _ACCURACY, _GAIN = 50, 0.9, 0.2


def build(context: Context) -> DatasetCheck:
    """Positives from one place and negatives from another: a model learns to tell the places."""
    return _LabelLeakageSource()


class _LabelLeakageSource:
    def __init__(self) -> None:
        self.found = Association()

    def see(self, row: Candidate, raw: Row) -> None:
        if row.example.label is not None:
            self.found.add(row.example.origin.source, row.example.label)

    def findings(self) -> list[LintFinding]:
        accuracy, majority = self.found.strength()
        weak = accuracy < _ACCURACY or accuracy - majority < _GAIN or self.found.rows < _FEWEST
        if weak or not self.found.is_no_accident():
            return []
        return [
            LintFinding(
                check="label_leakage_source", what="label leakage", severity="warning", count=1,
                message=f"The source alone tells the label in {accuracy:.0%} of the rows (the "
                f"commonest label: {majority:.0%}).",
                fix="Take rows of every label from every source; else style stands for the label.",
            )
        ]  # fmt: skip
