"""Nothing can be measured without test rows."""

from __future__ import annotations

from luthier.artifacts import Finding
from luthier.planning.facts import Facts


def check(facts: Facts) -> Finding | None:
    """Find a test split that is empty.

    What: no row has the split `test`.
    Why: the evaluation measures the tuned model and its baselines on rows nobody trained on.
    Fix: give `data.split.test` a share, or a source `split: test`; `luthier train` needs none.
    """
    rows, data = facts.rows("test"), facts.recipe.data
    if rows is None:
        given = {source.split for source in data.sources}
        shared = "auto" in given and data.split.test > 0
        rows = None if shared or "test" in given else 0
    if rows != 0:
        return None
    return Finding(
        check="no_test_rows",
        severity="error",
        stage="evaluate",
        what=f"no test rows (data.split.test is {data.split.test:g}).",
        why="The evaluation has nothing to measure on, so `luthier run` would fail after training.",
        fix="Set data.split.test: 0.2, give a source `split: test`, or only `luthier train`.",
    )
