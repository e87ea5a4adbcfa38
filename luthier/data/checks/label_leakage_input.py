"""The label stands in the input."""

from __future__ import annotations

import re
from collections import Counter

from luthier.data.candidate import Candidate
from luthier.data.linting.dataset_check import Context, DatasetCheck, Need
from luthier.data.linting.lint_report import LintFinding, Tally
from luthier.data.rows import Row

NEEDS: tuple[Need, ...] = ("labels",)
_FEWEST, _SHARE, _RIGHT = 20, 0.5, 0.95
_MOST_LABELS = 100


def build(context: Context) -> DatasetCheck:
    """Half of the rows have exactly one label's name in their input, and it is their label."""
    return _LabelLeakageInput()


class _LabelLeakageInput:
    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.pattern: re.Pattern[str] | None = None
        self.rows = self.named = 0
        self.right: Counter[str] = Counter()
        self.places = Tally(
            "label_leakage_input", "label leakage", "error",
            "Take the label out of the input column; a new row will not have it.",
        )  # fmt: skip

    def see(self, row: Candidate, raw: Row) -> None:
        label = row.example.label
        if label is None:
            return
        self.rows += 1
        if label not in self.names and len(self.names) < _MOST_LABELS and label.strip():
            self.names[label] = label.strip().casefold()
            listed = sorted(set(self.names.values()), key=len, reverse=True)
            self.pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, listed))})(?!\w)")
        found = set(self.pattern.findall(row.question.casefold())) if self.pattern else set()
        if len(found) == 1:
            self.named += 1
            if found == {label.strip().casefold()}:
                self.right[label] += 1
                self.places.add(row.example.origin, f"'{label}' stands in the input")

    def findings(self) -> list[LintFinding]:
        right = self.right.total()
        if self.named < max(_FEWEST, _SHARE * self.rows) or len(self.right) < 2:
            return []
        if right < _RIGHT * self.named:
            return []
        return [
            self.places.finding(
                f"The input of {self.named:,} of {self.rows:,} rows names one label, and it is the "
                f"right one in {right / self.named:.0%}."
            )
        ]
