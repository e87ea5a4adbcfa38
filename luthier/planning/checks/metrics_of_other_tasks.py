"""At least one of the metrics must fit the task."""

from __future__ import annotations

from luthier.artifacts import Finding
from luthier.planning.facts import Facts
from luthier.registry import Registry

METRICS = Registry("metric", "luthier.evaluation.metrics")


def check(facts: Facts) -> Finding | None:
    """Find a list of metrics of which none fits the task.

    What: `evaluate.metrics` names only metrics of other kinds of task.
    Why: nothing is left to measure.
    Fix: metrics that fit, or null for all of them.
    """
    wanted, kind = facts.recipe.evaluate.metrics, facts.recipe.task.kind
    known = METRICS.names()
    if wanted is None or any(kind in METRICS.fits(name) for name in wanted if name in known):
        return None
    fitting = [name for name in known if kind in METRICS.fits(name)]
    return Finding(
        check="metrics_of_other_tasks",
        severity="error",
        stage="evaluate",
        what=f"evaluate.metrics: none of {', '.join(wanted)} fits a {kind} task.",
        why="The evaluation would have nothing to measure, after training.",
        fix=f"Set evaluate.metrics: null, or some of {', '.join(fitting)}.",
    )
