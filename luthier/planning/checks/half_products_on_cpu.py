"""4-bit weights that a CPU multiplies in fp16."""

from __future__ import annotations

from luthier.artifacts import Finding
from luthier.planning.facts import Facts


def check(facts: Facts) -> Finding | None:
    """Find `bnb_4bit_compute_dtype: float16` on a CPU.

    What: 4-bit weights are de-quantized to fp16 and multiplied in it.
    Why: few CPUs have instructions for fp16; without them a product takes many times as long (265 s
    a step instead of 22 on an AMD EPYC).
    Fix: leave `bnb_4bit_compute_dtype` out.
    """
    quantization = facts.train.quantization
    if quantization is None or not quantization.load_in_4bit or facts.hardware.device != "cpu":
        return None
    if quantization.bnb_4bit_compute_dtype != "float16":
        return None
    return Finding(
        check="half_products_on_cpu",
        severity="warning",
        what="bnb_4bit_compute_dtype: float16 on cpu.",
        why="Most CPUs have no instructions for fp16 products, which take many times as long.",
        fix="Leave train.quantization.bnb_4bit_compute_dtype out, or set bfloat16.",
    )
