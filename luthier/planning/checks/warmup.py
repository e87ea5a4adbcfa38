"""Warmup as long as the run, or a schedule that ignores it."""

from __future__ import annotations

from luthier.artifacts import Finding
from luthier.planning.facts import Facts


def check(facts: Facts) -> Finding | None:
    """Find warmup that never ends, and warmup that is set but not used.

    What: `warmup_steps` at or above the steps of the run; any warmup with `constant`.
    Why: the learning rate would never reach its value; `constant` starts at it, as in Hugging Face.
    Fix: a shorter warmup; `constant_with_warmup`.
    """
    train = facts.train
    asked = train.warmup_steps > 0 or train.warmup_ratio > 0
    if not asked or facts.total_steps < 1:
        return None
    if train.lr_scheduler_type == "constant":
        return Finding(
            check="warmup",
            severity="warning",
            what="warmup with lr_scheduler_type: constant has no effect.",
            why="That schedule starts at the full learning rate.",
            fix="Set train.lr_scheduler_type: constant_with_warmup.",
        )
    if facts.warmup_steps < facts.total_steps:
        return None
    return Finding(
        check="warmup",
        severity="error" if facts.total_steps > 1 else "warning",
        what=f"{facts.warmup_steps} warmup steps in a run of {facts.total_steps}.",
        why=f"The learning rate never reaches {train.learning_rate:g}.",
        fix="Set train.warmup_steps: 0 and train.warmup_ratio: 0.03.",
    )
