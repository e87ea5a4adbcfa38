"""Early stopping and the best checkpoint need validation rows."""

from __future__ import annotations

from luthier.artifacts import Finding
from luthier.planning.facts import Facts


def check(facts: Facts) -> Finding | None:
    """Find settings that watch a validation split which is empty.

    What: `early_stopping_patience` or `load_best_model_at_end` without validation rows.
    Why: there is nothing to compare checkpoints by.
    Fix: give `data.split.validation` a share.
    """
    rows = facts.rows("validation")
    if rows is None and facts.recipe.data.split.validation == 0:
        given = {source.split for source in facts.recipe.data.sources}
        rows = None if "validation" in given else 0
    if rows != 0:
        return None
    if facts.train.early_stopping_patience is not None:
        return Finding(
            check="no_validation_rows",
            severity="error",
            what="early_stopping_patience without validation rows.",
            why="Nothing tells when to stop.",
            fix="Set data.split.validation: 0.1, or train.early_stopping_patience: null.",
        )
    if facts.train.load_best_model_at_end:
        return Finding(
            check="no_validation_rows",
            severity="note",
            what="no validation rows: the last checkpoint is kept, not the best.",
            why="load_best_model_at_end has nothing to compare checkpoints by.",
            fix="Set data.split.validation: 0.1.",
        )
    return None
