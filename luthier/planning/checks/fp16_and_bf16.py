"""Half precision in two formats at once."""

from __future__ import annotations

from luthier.artifacts import Finding
from luthier.planning.facts import Facts


def check(facts: Facts) -> Finding | None:
    """Find fp16 together with bf16.

    What: both are true.
    Why: products can be computed in one of them only.
    Fix: keep bf16 (no loss scaling, no overflow) where the hardware has it.
    """
    if not (facts.train.fp16 and facts.train.bf16):
        return None
    keep = "train.fp16" if facts.hardware.bf16 else "train.bf16"
    return Finding(
        check="fp16_and_bf16",
        severity="error",
        what="fp16: true and bf16: true.",
        why="Products are computed in one format.",
        fix=f"Set {keep}: false.",
    )
