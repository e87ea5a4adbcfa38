"""Classes of very different size."""

from __future__ import annotations

from luthier.artifacts import Finding
from luthier.planning.facts import Facts

RATIO, FEW = 5, 20


def check(facts: Facts) -> Finding | None:
    """Find labels that are rare, or absent, in the training rows.

    What: the rarest label against the commonest.
    Why: accuracy then looks good for a model that never says the rare one.
    Fix: more rows of it, and macro-F1 as the metric for the best checkpoint.
    """
    if facts.data is None or not facts.recipe.labels or "train" not in facts.data.splits:
        return None
    counts = {label: 0 for label in facts.recipe.labels} | facts.data.splits["train"].labels
    if not sum(counts.values()):
        return None
    rare, common = min(counts, key=lambda k: counts[k]), max(counts, key=lambda k: counts[k])
    if counts[rare] * RATIO >= counts[common] and counts[rare] >= min(FEW, counts[common]):
        return None
    if counts[rare] == 0:
        why = "A label without training rows is never learned."
    else:
        share = counts[common] / sum(counts.values())
        why = f"Always answering '{common}' would be right {share:.0%} of the time."
    metric = facts.train.metric_for_best_model
    advice = "" if metric == "macro_f1" else " Set train.metric_for_best_model: macro_f1."
    return Finding(
        check="class_imbalance",
        severity="warning",
        what=f"{counts[rare]:,} training rows of '{rare}' against {counts[common]:,} of "
        f"'{common}'.",
        why=why,
        fix=f"Add rows of '{rare}'.{advice}",
    )
