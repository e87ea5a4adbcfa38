"""A small lora_alpha / r makes the adapter learn slowly."""

from __future__ import annotations

import math

from luthier.artifacts import Finding
from luthier.planning.facts import Facts


def check(facts: Facts) -> Finding | None:
    """Find a scale of the update well below 1.

    What: the update is scaled by lora_alpha / r (rsLoRA: lora_alpha / sqrt(r)); common recipes
    have 1 to 2, the reference recipe (r=64, alpha=8) has 0.125.
    Why: with Adam the scale acts like a factor on the learning rate of the adapter's effect.
    Fix: a larger alpha, or a larger learning rate.
    """
    lora = facts.train.lora
    if lora is None:
        return None
    scale = lora.lora_alpha / (math.sqrt(lora.r) if lora.use_rslora else lora.r)
    if 0.25 <= scale <= 8:
        return None
    small = scale < 1
    rule = "lora_alpha / sqrt(r)" if lora.use_rslora else "lora_alpha / r"
    return Finding(
        check="lora_scale",
        severity="note" if small else "warning",
        what=f"{rule} = {lora.lora_alpha:g} / {lora.r}: the update is scaled by {scale:.3g}.",
        why="Usual values are 1 to 2. "
        + ("The adapter learns slowly." if small else "Training may become unstable."),
        fix=f"Set train.lora.lora_alpha to {2 * lora.r} (or change the learning rate to match)."
        if not lora.use_rslora
        else f"Set train.lora.lora_alpha to {round(2 * math.sqrt(lora.r))}.",
    )
