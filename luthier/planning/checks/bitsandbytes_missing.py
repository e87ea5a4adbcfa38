"""Settings that need bitsandbytes, which is not installed."""

from __future__ import annotations

from luthier.artifacts import Finding
from luthier.planning.facts import Facts
from luthier.planning.optimizer_state import needs_bitsandbytes


def check(facts: Facts) -> Finding | None:
    """Find a quantized base, or an 8-bit, paged or Lion optimizer, without bitsandbytes.

    What: the setting's code lives in a package that is not there.
    Why: training would stop at its first step.
    Fix: install the extra `bnb`.
    """
    if "bitsandbytes" in facts.installed:
        return None
    train, wanting = facts.train, []
    if train.quantization is not None:
        wanting.append("train.quantization")
    if needs_bitsandbytes(train.optim):
        wanting.append(f"train.optim: {train.optim}")
    if not wanting:
        return None
    return Finding(
        check="bitsandbytes_missing",
        severity="error",
        what=f"{' and '.join(wanting)} without bitsandbytes.",
        why="The quantized layers and the 8-bit, paged and Lion optimizers are bitsandbytes'.",
        fix="pip install 'luthier[bnb]', or use train.optim: adamw_torch and an unquantized base.",
    )
