"""There is no adapter to ship where full weights are trained."""

from __future__ import annotations

from luthier.artifacts import Finding
from luthier.planning.facts import Facts


def check(facts: Facts) -> Finding | None:
    """Find the exporter `adapter` in a recipe that trains all weights.

    What: `ship.exporters` names `adapter`, and `train.lora` is null.
    Why: full fine-tuning makes a whole model, and no adapter.
    Fix: `merged`, or LoRA.
    """
    if facts.train.lora is not None or "adapter" not in facts.recipe.exporters:
        return None
    return Finding(
        check="adapter_without_lora",
        severity="error",
        stage="ship",
        what="ship.exporters: adapter, but train.lora is null.",
        why="All weights are trained, which makes a whole model and no adapter.",
        fix="Set ship.exporters: [merged], or train with LoRA.",
    )
