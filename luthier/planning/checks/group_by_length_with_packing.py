"""Grouping by length has no effect on packed lines."""

from __future__ import annotations

from luthier.artifacts import Finding
from luthier.planning.facts import Facts


def check(facts: Facts) -> Finding | None:
    """Find `group_by_length` beside `packing`.

    What: both are set.
    Why: packed lines are all about as long as `max_seq_length`; there is nothing to group.
    Fix: drop one.
    """
    if not (facts.train.packing and facts.train.group_by_length):
        return None
    return Finding(
        check="group_by_length_with_packing",
        severity="note",
        what="group_by_length has no effect beside packing.",
        why="Packed lines all have about the same length.",
        fix="Drop train.group_by_length, or set train.packing: false.",
    )
