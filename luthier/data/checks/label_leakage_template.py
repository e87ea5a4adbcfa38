"""The label can be told from the template of a row."""

from __future__ import annotations

from luthier.data.candidate import Candidate
from luthier.data.linting.association import Association
from luthier.data.linting.dataset_check import Context, DatasetCheck, Need
from luthier.data.linting.lint_report import LintFinding
from luthier.data.rows import Row

NEEDS: tuple[Need, ...] = ("labels",)
FEWEST, GAIN = 50, 0.1
"""Rows below which nothing is said; accuracy gained over the commonest label, from which it is."""


def build(context: Context) -> DatasetCheck:
    """A template that goes with a label gives the answer away in training and misleads later."""
    return _LabelLeakageTemplate()


class _LabelLeakageTemplate:
    def __init__(self) -> None:
        self.found = Association()

    def see(self, row: Candidate, raw: Row) -> None:
        # Rows that were rendered elsewhere say in a column which template they had.
        template = row.example.template or "none"
        for name in ("template", "template_id", "template_name", "_template", "_template_idx"):
            if isinstance(said := raw.fields.get(name), (str, int)):
                template = f"{template}/{said}"
                break
        if row.example.label is not None:
            self.found.add(template, row.example.label)

    def findings(self) -> list[LintFinding]:
        accuracy, majority = self.found.strength()
        if (
            self.found.rows < FEWEST
            or accuracy - majority < GAIN
            or not self.found.is_no_accident()
        ):
            return []
        return [
            LintFinding(
                check="label_leakage_template", what="label leakage", severity="error", count=1,
                message=f"The template alone tells the label in {accuracy:.0%} of the rows (the "
                f"commonest label: {majority:.0%}).",
                fix="Give every row its template at random; luthier does, by the row's id.",
            )
        ]  # fmt: skip
