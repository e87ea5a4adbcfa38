"""Memory that does not suffice, and the one change that helps most."""

from __future__ import annotations

from luthier.artifacts import Finding
from luthier.console import size
from luthier.planning.facts import Facts


def check(facts: Facts) -> Finding | None:
    """Find a plan that needs more memory than is free.

    What: estimated peak against free memory.
    Why: training would be killed, or swap.
    Fix: the single change that saves most; each was estimated like the recipe itself.
    """
    if facts.total_bytes <= facts.available_bytes:
        return None
    free, needed = size(facts.available_bytes), size(facts.total_bytes)
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
