"""One label has many times the rows of another."""

from __future__ import annotations

from collections import Counter

from luthier.data.candidate import Candidate
from luthier.data.linting.dataset_check import Context, DatasetCheck, Need
from luthier.data.linting.label_spelling import folded, meant
from luthier.data.linting.lint_report import LintFinding
from luthier.data.linting.passages import excerpt
from luthier.data.linting.stand_ins import stand_in
from luthier.data.rows import Row

NEEDS: tuple[Need, ...] = ("labels",)
_RATIO = 10
"""The planner speaks of 5 (`planning/checks/class_imbalance.py`), where the split is known."""
_FEWEST_ROWS = 20
_MOST_LABELS = 1000


def build(context: Context) -> DatasetCheck:
    """Labels of fewer than a tenth of the rows of the commonest."""
    return _LabelImbalance(context)


class _LabelImbalance:
    def __init__(self, context: Context) -> None:
        self.declared = frozenset(context.labels)
        self.labels: Counter[str] = Counter()

    def see(self, row: Candidate, raw: Row) -> None:
        label = row.example.label
        known = not self.declared or label in self.declared
        if (
            label is not None
            and known
            and (label in self.labels or len(self.labels) < _MOST_LABELS)
        ):
            self.labels[label] += 1

    def findings(self) -> list[LintFinding]:
        # Nobody labels rows as empty or N/A; other checks name those rows.
        real = Counter({
            label: count for label, count in self.labels.items()
            if label in self.declared or (label.strip() and not stand_in(label))
        })  # fmt: skip
        labels = _one_spelling_each(real)
        if len(labels) < 2 or labels.total() < _FEWEST_ROWS:
            return []
        (common, most), *others = labels.most_common()
        rare = [(label, count) for label, count in others if count * _RATIO < most]
        if not rare:
            return []
        shown = ", ".join(f"'{excerpt(label, 30)}' {n:,}" for label, n in reversed(rare[-5:]))
        share = most / labels.total()
        return [
            LintFinding(
                check="label_imbalance", what="label imbalance", severity="warning", count=1,
                message=f"'{excerpt(common, 30)}' has {most:,} rows ({share:.0%}) against {shown}.",
                fix="Add rows of the rare labels, and judge by macro-F1 (evaluate.metrics).",
            )
        ]  # fmt: skip


def _one_spelling_each(counts: Counter[str]) -> Counter[str]:
    """Rows per label; other spellings, which other checks name, count for the commonest."""
    usual: dict[str, str] = {}
    for label, _ in counts.most_common():
        usual.setdefault(folded(label), label)
    merged: Counter[str] = Counter()
    for label, count in counts.items():
        merged[usual[folded(meant(label, counts) or label)]] += count
    return merged
