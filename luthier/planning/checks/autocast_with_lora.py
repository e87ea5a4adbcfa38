"""Autocast rounds the small updates of LoRA away."""

from __future__ import annotations

from luthier.artifacts import Finding
from luthier.planning.facts import Facts


def check(facts: Facts) -> Finding | None:
    """Find autocast with adapters.

    What: everything is computed in 16 bits, the adapters' addition to the residual too.
    Why: bf16 has 8 bits of precision: an update below 1/256 of the sum it joins disappears.
    Measured over three seeds of recipes/promises.yaml (benchmarks/results/precision.md): after 80
    of 120 steps AUROC .87 in fp32, .81 with bf16 autocast, .88 with only frozen products in bf16;
    at the end, and on a 4-bit base, the three cannot be told apart.
    Fix: `autocast: false`.
    """
    if facts.train.lora is None or not facts.precision.endswith("_autocast"):
        return None
    return Finding(
        check="autocast_with_lora",
        severity="warning",
        what=f"{facts.precision} with LoRA.",
        why="It rounds small adapter updates away, so training gets going later: after 80 of 120 "
        "steps of the promises recipe AUROC was .87 in fp32, .81 so, and .88 with only the frozen "
        "products in bf16, which is no slower (means of three seeds; at the end all are alike).",
        fix="Set train.fp16: false and train.bf16: true."
        if facts.train.fp16
        else "Set train.autocast: false.",
    )
