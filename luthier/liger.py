"""Liger's fused kernels (Hsu et al. 2024, arXiv:2410.10989) for a model on a CUDA GPU.

Norms, gated MLPs and rotary positions run through them. Liger's fused loss is left out: logits
exist at trained tokens only, in chunks (training/loss.py), and Liger's would compute them for all.
"""

from __future__ import annotations

from typing import Any

from luthier.errors import MissingExtra, ModelError
from luthier.locate import hushed


def use_liger(model: Any) -> None:
    """Let the modules of a plain model, without adapters yet, run through Liger's kernels.

    Raises:
        MissingExtra: liger-kernel is not installed.
        ModelError: it does not know the architecture.
    """
    try:
        with hushed():
            from liger_kernel.transformers import _apply_liger_kernel_to_instance as apply
    except ImportError:
        raise MissingExtra("train.use_liger_kernel", "liger") from None
    apply(model=model, cross_entropy=False, fused_linear_cross_entropy=False)
    # It binds a forward of its own to each module, and says nothing where it knows none.
    if not any("forward" in vars(module) for module in model.modules()):
        raise ModelError(
            f"train.use_liger_kernel: Liger knows no kernels for {type(model).__name__}. Leave it "
            "out."
        )
