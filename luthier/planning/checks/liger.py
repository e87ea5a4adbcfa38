"""Liger's kernels without a CUDA GPU, or without the package."""

from __future__ import annotations

from luthier.artifacts import Finding
from luthier.planning.facts import Facts


def check(facts: Facts) -> Finding | None:
    """Find `use_liger_kernel` where its kernels cannot run.

    What: the setting is on, and there is no CUDA GPU or no liger-kernel.
    Why: the kernels are written in Triton, for GPUs.
    Fix: leave the setting out, or install the extra `liger`.
    """
    if not facts.train.use_liger_kernel:
        return None
    if facts.hardware.device != "cuda":
        return Finding(
            check="liger",
            severity="error",
            what=f"train.use_liger_kernel on {facts.hardware.device}.",
            why="Its kernels are written in Triton and run on CUDA GPUs.",
            fix="Set train.use_liger_kernel: false; norms and gated MLPs are fused without it.",
        )
    if "liger_kernel" in facts.installed:
        return None
    return Finding(
        check="liger",
        severity="error",
        what="train.use_liger_kernel, and liger-kernel is not installed.",
        why="Training would stop before its first step.",
        fix="pip install 'luthier[liger]', or set train.use_liger_kernel: false.",
    )
