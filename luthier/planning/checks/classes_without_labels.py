"""Label smoothing over classes needs classes."""

from __future__ import annotations

from luthier.artifacts import Finding
from luthier.planning.facts import Facts


def check(facts: Facts) -> Finding | None:
    """Find class smoothing where the task has no labels.

    What: `label_smoothing_over: classes` with a task other than classification.
    Why: there is no closed set to spread the mass over.
    Fix: smooth over the vocabulary, or not at all.
    """
    train = facts.train
    if not train.label_smoothing_factor or train.label_smoothing_over != "classes":
        return None
    if facts.recipe.labels:
        return None
    return Finding(
        check="classes_without_labels",
        severity="error",
        what=f"label_smoothing_over: classes, but the task is {facts.recipe.task.kind}.",
        why="Only a classification task has a closed set of answers to spread the mass over.",
        fix="Set train.label_smoothing_over: vocabulary, or train.label_smoothing_factor: 0.",
    )
