"""Rows longer than the model can read."""

from __future__ import annotations

from luthier.artifacts import Finding
from luthier.planning.facts import Facts


def check(facts: Facts) -> Finding | None:
    """Find `max_seq_length` beyond the model's context.

    What: rows of up to `max_seq_length` tokens are let through.
    Why: positions beyond `max_position_embeddings` were never trained.
    Fix: lower it.
    """
    limit = facts.train.max_seq_length
    if facts.context is None or limit <= facts.context:
        return None
    longest = None
    if facts.data is not None:
        longest = max((s.tokens.max for s in facts.data.splits.values() if s.rows), default=0)
    harmless = longest is not None and longest <= facts.context and not facts.train.packing
    return Finding(
        check="context",
        severity="note" if harmless else "error",
        what=f"max_seq_length {limit:,}, but the model has {facts.context:,} positions.",
        why=f"The longest row has {longest:,} tokens, so nothing goes wrong yet."
        if harmless
        else "Positions beyond that were never trained and give noise.",
        fix=f"Set train.max_seq_length: {facts.context}.",
    )
