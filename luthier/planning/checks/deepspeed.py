"""DeepSpeed that is not installed, or with what it cannot do here."""

from __future__ import annotations

from luthier.artifacts import Finding
from luthier.planning.facts import Facts

_OPTIMIZERS = ("adamw_torch", "adamw_torch_fused", "sgd", "rmsprop", "adagrad")


def check(facts: Facts) -> Finding | None:
    """Find `deepspeed` without the package, or with settings that do not go with it.

    What: deepspeed that is not installed; with a quantized base, fp16, auto_find_batch_size,
    swa_start, an optimizer that is not torch's own, bf16 products with frozen weights in stage 3,
    or weights in main memory below stage 3; or with a single process.
    Why: ZeRO shares flat fp32 tensors out. It writes checkpoints as pickles, so none are written.
    Fix: install it, change the other settings, or use FSDP2, which resumes.
    """
    if facts.train.deepspeed is None:
        return None
    if "deepspeed" not in facts.installed:
        return Finding(
            check="deepspeed",
            severity="error",
            what="train.deepspeed, and DeepSpeed is not installed.",
            why="Training would stop at its first line.",
            fix="pip install 'luthier[deepspeed]', or set train.fsdp: true, which needs nothing.",
        )
    if facts.processes.size == 1:
        return Finding(
            check="deepspeed",
            severity="warning",
            what="train.deepspeed with one process.",
            why="There is nobody to share the model out with; it has no effect.",
            fix="Give --nproc (docs/scale.md), or leave train.deepspeed out.",
        )
    found = _clashes(facts)
    if found:
        return Finding(
            check="deepspeed",
            severity="error",
            what=f"train.deepspeed with {' and '.join(found)}.",
            why="ZeRO shares the flat fp32 tensors of torch's own optimizers out.",
            fix="Change these, or leave train.deepspeed out: then every process holds the whole "
            "model.",
        )
    return Finding(
        check="deepspeed",
        severity="warning",
        what="a training with DeepSpeed cannot be resumed.",
        why="Its checkpoints are pickles, and luthier writes none; a run that is cut short starts "
        "again.",
        fix="For a long run set train.fsdp: true instead.",
    )


def _clashes(facts: Facts) -> list[str]:
    train = facts.train
    assert train.deepspeed is not None
    zero = train.deepspeed.zero_optimization
    offloads = zero.offload_param is not None and zero.offload_param.device != "none"
    clashes = {
        "train.quantization": train.quantization is not None,
        "train.fp16": train.fp16,
        "train.auto_find_batch_size": train.auto_find_batch_size,
        "train.swa_start": train.swa_start is not None,
        f"train.optim: {train.optim}": train.optim not in _OPTIMIZERS,
        "frozen weights in bf16 in stage 3 (train.bf16: false keeps fp32)": zero.stage == 3
        and facts.precision == "frozen_bf16",
        "offload_param below stage 3": offloads and zero.stage < 3,
    }
    return [name for name, clash in clashes.items() if clash]
