"""A quantized base cannot be trained in full."""

from __future__ import annotations

from luthier.artifacts import Finding
from luthier.planning.facts import Facts


def check(facts: Facts) -> Finding | None:
    """Find quantization without LoRA.

    What: `quantization` is set and `lora` is null.
    Why: 4- and 8-bit weights are codes; a gradient step cannot change them.
    Fix: train adapters (QLoRA, arXiv:2305.14314), or leave the base unquantized.
    """
    if facts.train.quantization is None or facts.train.lora is not None:
        return None
    return Finding(
        check="quantized_full_finetuning",
        severity="error",
        what="a quantized base with lora: null.",
        why="Quantized weights are codes that a gradient step cannot change.",
        fix="Set train.lora, e.g. {r: 16, lora_alpha: 32}, or train.quantization: null.",
    )
