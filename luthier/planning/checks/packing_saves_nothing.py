"""Packing that packs nothing: rows too long or too few."""

from __future__ import annotations

from luthier.artifacts import Finding
from luthier.planning.facts import Facts


def check(facts: Facts) -> Finding | None:
    """Find packing where hardly two rows fit into a line.

    What: the median row is longer than half of `max_seq_length`, or there are so few rows that
    an epoch has a handful of lines.
    Why: packing then saves nothing and costs the shared prefix and the mask.
    Fix: switch it off.
    """
    if not facts.train.packing or facts.data is None or "train" not in facts.data.splits:
        return None
    tokens, rows = facts.data.splits["train"].tokens, facts.data.splits["train"].rows
    limit = facts.train.max_seq_length
    lines = tokens.total / limit
    if tokens.median <= limit / 2 and lines >= facts.train.per_device_train_batch_size:
        return None
    return Finding(
        check="packing_saves_nothing",
        severity="warning",
        what=f"packing {rows:,} rows (median {tokens.median} tokens) into lines of {limit}.",
        why="Hardly two rows fit into a line."
        if tokens.median > limit / 2
        else f"All rows together are about {max(lines, 1):.0f} lines: less than one batch of "
        f"{facts.train.per_device_train_batch_size}, so an epoch is a single step.",
        fix="Set train.packing: false, or change train.max_seq_length.",
    )
