"""One label is written in several ways: other case, white space, quotation marks or a full stop."""

from __future__ import annotations

from collections import Counter

from luthier.data.candidate import Candidate
from luthier.data.linting.dataset_check import Context, DatasetCheck, Need
from luthier.data.linting.label_spelling import folded
from luthier.data.linting.lint_report import LintFinding, Place
from luthier.data.rows import Row
from luthier.example import Origin

NEEDS: tuple[Need, ...] = ("labels",)
_MOST_LABELS = 10_000


def build(context: Context) -> DatasetCheck:
    """Labels are scored as they are written: `True` and `true` are two classes."""
    return _LabelCaseVariants()


class _LabelCaseVariants:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, Origin] = {}

    def see(self, row: Candidate, raw: Row) -> None:
        label = row.example.label
        if label is not None and (label in self.counts or len(self.counts) < _MOST_LABELS):
            self.counts[label] += 1
            self.first.setdefault(label, row.example.origin)

    def findings(self) -> list[LintFinding]:
        same: dict[str, list[str]] = {}
        for label in self.counts:
            same.setdefault(folded(label), []).append(label)
        found = []
        for variants in same.values():
            if len(variants) < 2:
                continue
            usual, *others = sorted(variants, key=lambda v: -self.counts[v])
            listed = ", ".join(f"{v!r} {self.counts[v]:,}" for v in (usual, *others))
            found.append(
                LintFinding(
                    check="label_case_variants", what="label variants", severity="error",
                    count=sum(self.counts[v] for v in others),
                    message=f"One label is written in {len(variants)} ways: {listed}.",
                    fix=f"Write {usual!r} everywhere.",
                    places=[
                        Place(where=str(self.first[v]), said=f"the first {v!r}") for v in others
                    ],
                )
            )  # fmt: skip
        return found
