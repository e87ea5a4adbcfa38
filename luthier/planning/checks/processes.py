"""Several processes, and what the machine or the engine can do with them."""

from __future__ import annotations

from luthier.artifacts import Finding
from luthier.planning.facts import Facts


def check(facts: Facts) -> Finding | None:
    """Find more processes than the machine can run, or settings that are for one.

    What: more processes than GPUs, or than CPU cores; several with an Apple GPU or engine trl.
    Why: a GPU is one process's; processes on one CPU share its cores and gain nothing.
    Fix: fewer processes.
    """
    here, hardware = facts.processes.here, facts.hardware
    if facts.processes.size == 1:
        return None
    if facts.train.engine == "trl":
        return Finding(
            check="processes",
            severity="error",
            what=f"{facts.processes.size} processes with engine: trl.",
            why="It is there to compare with, and takes its steps in one process.",
            fix="Set train.engine: luthier, or leave --nproc out.",
        )
    if hardware.device == "mps":
        return Finding(
            check="processes",
            severity="error",
            what=f"{facts.processes.size} processes on {hardware.device_name}.",
            why="There is one GPU, and torch cannot sum gradients between processes on it.",
            fix="Leave --nproc out.",
        )
    if hardware.device == "cuda" and here > hardware.devices:
        return Finding(
            check="processes",
            severity="error",
            what=f"{here} processes on this machine, which has {hardware.devices} GPUs.",
            why="A GPU is one process's.",
            fix=f"At most --nproc {hardware.devices}.",
        )
    if hardware.device == "cpu" and here > hardware.cores:
        return Finding(
            check="processes",
            severity="warning",
            what=f"{here} processes on {hardware.cores} CPU cores.",
            why="They share the cores and wait for each other.",
            fix="Leave --nproc out: one process uses all cores of a CPU.",
        )
    return None
