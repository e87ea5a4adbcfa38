"""How long training will take: work to do, over what this machine was just seen to do.

A step is matrix products; everything else (norms, activations, rotations, adding adapters, moving
tensors), which takes as long as writing its results; the calls themselves; and the optimizer's
pass over what is trained. The speeds are measured, for about a quarter of a second each: products
of the model's own shape in the precision of the run, a pass over a tensor, a call that does next to
nothing. Bytes written and calls are those of the traced step (`trace.py`).

The constants below, and no others, say how a step follows from these speeds. They are fitted to
20 steps of a 135M model on one core of a Xeon with AMX (120 to 1,024 computed tokens, with and
without a shared prefix; fp32 and frozen bf16; LoRA, with and without checkpointing, and in full),
which they give within 12 %. On other machines and much larger models expect a factor of 2.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from luthier.hardware import Device, Precision
from luthier.training.config import TrainConfig

PASSES = 1.2
"""Passes over a tensor that writing as many bytes takes, in a forward and backward pass."""
CALLS = 20.0
"""Calls that do nothing else that one in a model takes: modules, autograd, dispatch."""
OPTIMIZER_PASSES = 6.0
"""Passes over the trained parameters in an optimizer step, clipping included."""
_ROWS = 256
_WIDE = 8_000_000
"""Elements: more than the caches hold, as activations are."""
_MANY = 100
_SECONDS = 0.25


@dataclass(frozen=True)
class Speed:
    """What the machine does, as measured."""

    products: float
    """Floating-point operations per second of matrix products."""
    passes: float
    """Bytes per second of an operation on every element."""
    call: float
    """Seconds of an operation on next to nothing."""


def measure(hidden: int, inner: int, *, precision: Precision, device: Device) -> Speed:
    """Measure products of (256, hidden) x (hidden, inner), an fp32 pass, and a call."""
    import torch
    import torch.nn.functional as F

    dtypes = {"float32": torch.float32, "fp16_autocast": torch.float16}
    dtype = dtypes.get(precision, torch.bfloat16)
    x = torch.ones(_ROWS, hidden, dtype=dtype, device=device)
    weight = torch.ones(inner, hidden, dtype=dtype, device=device)
    wide = torch.ones(_WIDE, device=device)
    # Whatever the device is, it is this processor that asks for the operations.
    tiny = torch.ones(8)
    with torch.no_grad():
        product = _fastest(lambda: F.linear(x, weight), device)
        once = _fastest(lambda: F.silu(wide), device)
        calls = _fastest(lambda: [tiny + tiny for _ in range(_MANY)], "cpu")
    return Speed(2 * _ROWS * hidden * inner / product, wide.numel() * 4 / once, calls / _MANY)


def batch_seconds(operations: float, written: float, calls: float, speed: Speed) -> float:
    """Seconds of one micro-batch, forward and backward.

    Args:
        operations: see `batch_operations`.
        written: bytes, see `shapes.Traced`.
        calls: operations that torch is asked for.
        speed: of this machine.
    """
    everything_else = PASSES * written / speed.passes + CALLS * calls * speed.call
    return operations / speed.products + everything_else


def optimizer_seconds(trainable: int, speed: Speed) -> float:
    """Seconds of an optimizer step over so many parameters in fp32."""
    return OPTIMIZER_PASSES * 4 * trainable / speed.passes


def batch_operations(
    train: TrainConfig,
    *,
    tokens: float,
    trained: float,
    body: int,
    trainable: int,
    vocabulary: int,
    hidden: int,
) -> float:
    """Floating-point operations of one micro-batch, forward and backward.

    Two per parameter and token forward, two more for the gradient of the input and, where the
    parameter is trained, two for its own (Kaplan et al. 2020, arXiv:2001.08361, section 2.1).

    Args:
        train: LoRA, checkpointing.
        tokens: computed in a typical micro-batch; a shared prefix is counted once.
        trained: tokens of it that carry loss.
        body: parameters of the decoder without embeddings and head.
        trainable: trained parameters.
        vocabulary: rows of the LM head.
        hidden: its columns.
    """
    again = 1 if train.gradient_checkpointing else 0
    if train.lora is None:
        body_work = 2 * body * (3 + again)
    else:
        body_work = 2 * body * (2 + again) + 2 * trainable * (3 + again)
    head_work = 2 * vocabulary * hidden * (2 if train.lora is not None else 3)
    return float(tokens * body_work + trained * head_work)


def _fastest(work: Callable[[], object], device: Device) -> float:
    """Seconds of the fastest of many calls: that of a machine that does nothing else."""
    work()
    taken: list[float] = []
    deadline = time.perf_counter() + _SECONDS
    while not taken or time.perf_counter() < deadline:
        _wait(device)
        started = time.perf_counter()
        work()
        _wait(device)
        taken.append(max(time.perf_counter() - started, 1e-9))
    return min(taken)


def _wait(device: Device) -> None:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()
