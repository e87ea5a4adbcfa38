"""Too few rows to tell how good the model is."""

from __future__ import annotations

import math

from luthier.artifacts import Finding
from luthier.planning.facts import Facts

FEW_TEST, FEW_CALIBRATION = 100, 50


def check(facts: Facts) -> Finding | None:
    """Find test and calibration splits too small for a useful statement.

    What: rows of `test` and `calibration`.
    Why: the 95 % interval of an accuracy near 90 % is about +-1.96 sqrt(.09/n) wide; a temperature
    fitted on a handful of rows is noise.
    Fix: larger shares, or more rows.
    """
    if facts.data is None:
        return None
    test, calibration = facts.rows("test") or 0, facts.rows("calibration") or 0
    classifies = bool(facts.recipe.labels) and facts.recipe.evaluate.calibrate
    said, fixes = [], []
    if 0 < test < FEW_TEST:  # none at all: checks/no_test_rows.py
        margin = 1.96 * math.sqrt(0.09 / test)
        said.append(f"An accuracy near 90 % will carry an interval of about +-{margin:.0%}.")
        fixes.append("data.split.test")
    if classifies and calibration < FEW_CALIBRATION:
        said.append("The temperature has too few rows to be fitted on.")
        fixes.append("data.split.calibration")
    if not said:
        return None
    counts = f"{test} test rows" + (f" and {calibration} calibration rows" if classifies else "")
    return Finding(
        check="few_evaluation_rows",
        severity="warning",
        what=f"{counts}.",
        why=" ".join(said),
        fix=f"Raise {' and '.join(fixes)}, or add rows.",
    )
