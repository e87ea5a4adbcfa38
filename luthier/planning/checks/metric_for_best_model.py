"""The metric that chooses the best checkpoint must fit the task."""

from __future__ import annotations

from luthier.artifacts import Finding
from luthier.planning.facts import Facts


def check(facts: Facts) -> Finding | None:
    """Find accuracy or macro-F1 on a task without labels.

    What: `metric_for_best_model` needs a closed label set.
    Why: accuracy of free text is not defined here.
    Fix: `loss`.
    """
    metric = facts.train.metric_for_best_model
    if metric == "loss" or facts.recipe.labels:
        return None
    return Finding(
        check="metric_for_best_model",
        severity="error",
        what=f"metric_for_best_model: {metric}, but the task is {facts.recipe.task.kind}.",
        why="It is counted over a closed set of labels, which only classification has.",
        fix="Set train.metric_for_best_model: loss.",
    )
