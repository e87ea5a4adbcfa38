"""One label is written in several ways: other case, white space, quotation marks or a full stop."""

from __future__ import annotations

from luthier.data.candidate import Candidate
from luthier.data.linting.dataset_check import Context, DatasetCheck, Need
from luthier.data.linting.label_spelling import LabelCounts, folded
from luthier.data.linting.lint_report import LintFinding, Place
from luthier.data.rows import Row

NEEDS: tuple[Need, ...] = ("labels",)
_MOST_LABELS = 10_000


def build(context: Context) -> DatasetCheck:
    """Labels are scored as they are written: `True` and `true` are two classes."""
    return _LabelCaseVariants()


class _LabelCaseVariants:
    def __init__(self) -> None:
        self.counts = LabelCounts(_MOST_LABELS)

    def see(self, row: Candidate, raw: Row) -> None:
        self.counts.see(row)

    def findings(self) -> list[LintFinding]:
        same: dict[str, list[str]] = {}
        for label in self.counts.rows:
            same.setdefault(folded(label), []).append(label)
        found = []
        for variants in same.values():
            if len(variants) < 2:
                continue
            usual, *others = sorted(variants, key=lambda v: -self.counts.rows[v])
            listed = ", ".join(f"{v!r} {self.counts.rows[v]:,}" for v in (usual, *others))
            found.append(
                LintFinding(
                    check="label_case_variants", what="label variants", severity="error",
                    count=sum(self.counts.rows[v] for v in others),
                    message=f"One label is written in {len(variants)} ways: {listed}.",
                    fix=f"Write {usual!r} everywhere.",
                    places=[
                        Place(where=str(self.counts.first[v]), said=f"the first {v!r}")
                        for v in others
                    ],
                )
            )  # fmt: skip
        return found
