"""Rejects rows whose label is not in the task's set; always applied in classification."""

from __future__ import annotations

from luthier.data.candidate import Candidate, Filter
from luthier.data.linting.lint_report import Severity
from luthier.errors import nearest

SEVERITY: Severity = "error"
FIX = "Correct the label, or add it to task.labels."


def build() -> Filter:
    """No options; the labels are those of `task.labels`. Nothing is relabelled."""

    def labels(row: Candidate) -> str | None:
        label = row.example.label
        if not row.labels or label in row.labels:
            return None
        found = label or ""
        folded = {known.strip().casefold(): known for known in row.labels}
        same = folded.get(found.strip().casefold())
        hint = f" Did you mean '{same}'?" if same else nearest(found, row.labels)
        known = ", ".join(row.labels)
        return f"label outside the set: '{found}' is none of {known}.{hint}"

    return labels
