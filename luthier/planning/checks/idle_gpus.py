"""GPUs that nobody uses."""

from __future__ import annotations

from luthier.artifacts import Finding
from luthier.planning.facts import Facts


def check(facts: Facts) -> Finding | None:
    """Find a machine with several GPUs and a training that uses one.

    What: one process, several GPUs.
    Why: a process uses one GPU.
    Fix: `--nproc`.
    """
    count = facts.hardware.devices
    if facts.hardware.device != "cuda" or count < 2 or facts.processes.size > 1:
        return None
    if facts.train.engine == "trl":
        return None
    return Finding(
        check="idle_gpus",
        severity="note",
        what=f"one of {count} GPUs is used.",
        why=f"With --nproc {count} all are, and an optimizer step takes {count} times as many "
        "rows: divide train.gradient_accumulation_steps or "
        "train.per_device_train_batch_size by as much to keep the steps as they are.",
        fix="",
    )
