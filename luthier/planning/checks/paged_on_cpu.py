"""Paged optimizers page nothing on a CPU."""

from __future__ import annotations

from luthier.artifacts import Finding
from luthier.planning.facts import Facts


def check(facts: Facts) -> Finding | None:
    """Find a paged optimizer where there is no GPU.

    What: `paged_*` on a CPU.
    Why: paging moves optimizer state from a GPU to main memory; here it is in main memory.
    bitsandbytes falls back to the optimizer of the same name without `paged`.
    Fix: none is needed.
    """
    if "paged" not in facts.train.optim or facts.hardware.device == "cuda":
        return None
    return Finding(
        check="paged_on_cpu",
        severity="note",
        what=f"{facts.train.optim} on {facts.hardware.device} does not page.",
        why="Its state is in main memory already; the updates are the same.",
        fix="",
    )
