"""Rejects rows whose label is not in the task's set; always applied in classification."""

from __future__ import annotations

from luthier.data.candidate import Candidate, Filter
from luthier.data.label_sets import outside
from luthier.data.linting.lint_report import Severity

SEVERITY: Severity = "error"
FIX = "Correct the label, or add it to task.labels (labels of the source)."


def build() -> Filter:
    """No options; the labels are those of the task, else of the source. Nothing is relabelled."""

    def labels(row: Candidate) -> str | None:
        if not row.labels:
            return None
        label = row.example.label  # only of classification; elsewhere the answer says it
        return outside(row.answer if label is None else label, row.labels)

    return labels
