"""The column that results are sliced by must be one of the test rows'."""

from __future__ import annotations

from luthier.artifacts import Finding
from luthier.errors import nearest
from luthier.planning.facts import Facts


def check(facts: Facts) -> Finding | None:
    """Find `evaluate.slice_by` with a column that no test row has.

    What: the column is none of those that the data stage kept.
    Why: there is nothing to slice the results by.
    Fix: one of the columns there are.
    """
    column = facts.recipe.evaluate.slice_by
    if column is None or not facts.test_columns or column in facts.test_columns:
        return None
    known = sorted(facts.test_columns)
    return Finding(
        check="slice_column",
        severity="error",
        stage="evaluate",
        what=f"evaluate.slice_by: no test row has a column '{column}'.",
        why="The evaluation would stop after training.",
        fix=f"{nearest(column, known)} Columns: {', '.join(known)}.".strip(),
    )
