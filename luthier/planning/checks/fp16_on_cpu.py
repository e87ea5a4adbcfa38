"""fp16 on a CPU: slower and less safe than what there is."""

from __future__ import annotations

from luthier.artifacts import Finding
from luthier.planning.facts import Facts


def check(facts: Facts) -> Finding | None:
    """Find fp16 on a CPU.

    What: `fp16: true` without an accelerator.
    Why: CPUs have few fp16 instructions, and fp16 overflows above 65,504, so the loss must be
    scaled and steps are skipped.
    Fix: leave it to the plan (`bf16: null`).
    """
    if not facts.train.fp16 or facts.hardware.device != "cpu":
        return None
    better = "frozen_bf16" if facts.hardware.bf16 and facts.train.lora else "float32"
    return Finding(
        check="fp16_on_cpu",
        severity="warning",
        what="fp16: true on a CPU.",
        why="It is no faster there than fp32, overflows above 65,504 and skips steps when it does.",
        fix=f"Set train.fp16: false; the plan then takes {better}.",
    )
