"""Too few rows to learn from."""

from __future__ import annotations

from luthier.artifacts import Finding
from luthier.planning.facts import Facts

FEW = 100


def check(facts: Facts) -> Finding | None:
    """Find a training split that is empty or very small.

    What: rows of the training split.
    Why: below about a hundred rows, few-shot prompting usually does as well, and the result
    depends on which rows they happen to be.
    Fix: more rows, or the few-shot baseline.
    """
    rows = facts.rows("train")
    if rows is None or rows >= FEW:
        return None
    if rows == 0:
        return Finding(
            check="few_training_rows",
            severity="error",
            what="no rows to train on.",
            why="All rows were rejected or sent to other splits; see data/rejects.jsonl.",
            fix="Add rows, or change data.filters or data.split.",
        )
    return Finding(
        check="few_training_rows",
        severity="warning",
        what=f"{rows} training rows.",
        why="With so few, showing some of them in the prompt usually does as well, and chance "
        "decides much of the result. (About 1,000 excellent rows taught LIMA its style, "
        "arXiv:2305.11206.)",
        fix=f"Add rows ({FEW} or more), and compare with the few_shot baseline.",
    )
