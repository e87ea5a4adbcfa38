"""A run so short that it hardly trains."""

from __future__ import annotations

from luthier.artifacts import Finding
from luthier.planning.facts import Facts


def check(facts: Facts) -> Finding | None:
    """Find a run of no steps, or of very few.

    What: optimizer steps of the whole run.
    Why: no step, no change; AdamW needs some tens of steps before its moments mean anything.
    Fix: more epochs, smaller batches or less accumulation.
    """
    if facts.train_rows is None and facts.train.max_steps < 1:
        return None
    if facts.train_rows == 0 or facts.total_steps >= 20:
        return None
    batch = facts.train.per_device_train_batch_size * facts.train.gradient_accumulation_steps
    batch *= facts.processes.size
    none = facts.total_steps < 1
    return Finding(
        check="few_steps",
        severity="error" if none else "warning",
        what=f"{facts.total_steps} optimizer steps of {batch} rows.",
        why="Nothing would be trained."
        if none
        else "AdamW's averages settle in some tens of steps; so few change little.",
        fix="Raise train.num_train_epochs, or lower train.per_device_train_batch_size or "
        "train.gradient_accumulation_steps.",
    )
