"""FSDP2 with what it cannot share out."""

from __future__ import annotations

from luthier.artifacts import Finding
from luthier.planning.facts import Facts

_OPTIMIZERS = ("adamw_torch", "adamw_torch_fused", "sgd", "rmsprop", "adagrad")


def check(facts: Facts) -> Finding | None:
    """Find `fsdp: true` with settings that do not go with it.

    What: fsdp with a quantized base, fp16, deepspeed, auto_find_batch_size, swa_start, or an
    optimizer that is not torch's own; or with a single process.
    Why: quantized weights and bitsandbytes' states are no tensors that can be split by rows; loss
    scaling and smaller batches are decided by one process, and the others wait for it; the mean of
    the weights is kept whole.
    Fix: the other settings, or whole models (`fsdp: false`).
    """
    train = facts.train
    if not train.fsdp:
        return None
    if facts.processes.size == 1:
        return Finding(
            check="fsdp",
            severity="warning",
            what="fsdp: true with one process.",
            why="There is nobody to share the model out with; it has no effect.",
            fix="Give --nproc (docs/scale.md), or leave train.fsdp out.",
        )
    clashes = {
        "train.quantization": train.quantization is not None,
        "train.fp16": train.fp16,
        "train.deepspeed": train.deepspeed is not None,
        "train.auto_find_batch_size": train.auto_find_batch_size,
        "train.swa_start": train.swa_start is not None,
        f"train.optim: {train.optim}": train.optim not in _OPTIMIZERS,
    }
    found = [name for name, clash in clashes.items() if clash]
    if not found:
        return None
    return Finding(
        check="fsdp",
        severity="error",
        what=f"fsdp: true with {' and '.join(found)}.",
        why="FSDP2 splits every tensor by its first dimension, and all processes must do the same "
        "at the same time.",
        fix=f"Leave {' and '.join(n.partition(':')[0] for n in found)} out, or set train.fsdp: "
        "false: then every process holds the whole model.",
    )
