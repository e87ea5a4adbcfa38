"""Packing and the kernel that keeps packed rows apart."""

from __future__ import annotations

from luthier.artifacts import Finding
from luthier.planning.facts import Facts


def check(facts: Facts) -> Finding | None:
    """Find packing with flash attention, or say how packed rows are kept apart.

    What: packed lines hold several rows.
    Why: rows must not see each other. With sdpa and eager the attention's layout or a
    block-diagonal mask keeps them apart and positions restart with every row; flash_attention_2
    takes neither.
    Fix: `attn_implementation: sdpa`.
    """
    if not facts.train.packing:
        return None
    if facts.train.attn_implementation == "flash_attention_2":
        return Finding(
            check="packing",
            severity="error",
            what="packing with attn_implementation: flash_attention_2.",
            why="Packed rows are kept apart by a block-diagonal mask, which it does not take.",
            fix="Set train.attn_implementation: sdpa.",
        )
    return Finding(
        check="packing",
        severity="note",
        what="several rows share a line, and never see each other.",
        why="Attention keeps them apart and positions restart with every row (models with sliding "
        "windows or recurrent states run them as rows of their own); the loss counts trained "
        "tokens, so it equals that of unpacked batches.",
        fix="",
    )
