"""Memory that does not suffice, and the one change that helps most; or that hardly does."""

from __future__ import annotations

from luthier.artifacts import Finding
from luthier.console import size
from luthier.planning.facts import Facts


def check(facts: Facts) -> Finding | None:
    """Find a plan that needs more memory than is free, or may come to hold more.

    What: estimated peak against free memory; with the freed blocks that glibc keeps, a warning.
    Why: training would be killed, or swap.
    Fix: the single change that saves most; each was estimated like the recipe itself.
    """
    free, needed = size(facts.available_bytes), size(facts.total_bytes)
    most = facts.total_bytes + facts.kept_bytes
    if most <= facts.available_bytes:
        return None
    if facts.total_bytes <= facts.available_bytes:
        return Finding(
            check="memory",
            severity="warning",
            what=f"about {needed} are needed, and up to {size(most)} are held with freed blocks "
            f"that the C library keeps; {free} are free.",
            why="Such blocks are given back when memory runs short, which takes time.",
            fix="To have them given back at once, start luthier with "
            "MALLOC_MMAP_THRESHOLD_=1048576 in the environment (steps get slower).",
        )
    fitting = [lever for lever in facts.levers if lever.total_bytes <= facts.available_bytes]
    if fitting:
        best = fitting[0]
        fix = f"Set {best.change}: {size(best.total_bytes)}, which fits."
    elif facts.levers:
        best = facts.levers[0]
        fix = f"{best.change} saves most ({size(best.total_bytes)} then) but is not enough alone."
    else:
        fix = "Use a smaller model or a machine with more memory."
    return Finding(
        check="memory",
        severity="error",
        what=f"about {needed} are needed, {free} are free on {facts.hardware.device_name}.",
        why="Training would run out of memory.",
        fix=fix,
    )
