"""Bytes of optimizer state, parameter tensor by parameter tensor.

    AdamW                8 B per parameter          Lion, RMSprop, Adagrad    4 B
    AdamW, 8 bits        2 + 2 * 4/256 = 2.03 B     Lion, ... in 8 bits       1.02 B
    Adafactor            4 * (rows + columns) per matrix, 4 B per element of a vector
    SGD                  0 B, with momentum 4 B

bitsandbytes keeps the state of tensors below 4,096 elements in 32 bits; its 8-bit states have one
fp32 scale per block of 256 (Dettmers et al. 2021, arXiv:2110.02861, section 2).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from luthier.training.config import Optimizer, TrainConfig

Shape = tuple[int, ...]

_STATES_32BIT: dict[Optimizer, int] = {
    "adamw_torch": 2,
    "adamw_torch_fused": 2,
    "paged_adamw_32bit": 2,
    "lion_32bit": 1,
    "paged_lion_32bit": 1,
    "rmsprop": 1,
    "rmsprop_bnb": 1,
    "adagrad": 1,
    "sgd": 0,
}
_STATES_8BIT: dict[Optimizer, int] = {
    "adamw_bnb_8bit": 2,
    "paged_adamw_8bit": 2,
    "lion_8bit": 1,
    "paged_lion_8bit": 1,
    "rmsprop_bnb_8bit": 1,
    "adagrad_bnb_8bit": 1,
    "sgd_bnb_8bit": 1,
}
_SMALLEST_8BIT = 4096
_BLOCK = 256
_SMALLEST_PAGED = 100_000


def needs_bitsandbytes(optim: Optimizer) -> bool:
    """Whether the optimizer comes from bitsandbytes."""
    return optim in _STATES_8BIT or "paged" in optim or optim in ("lion_32bit", "rmsprop_bnb")


def state_bytes(train: TrainConfig, shapes: Iterable[Shape]) -> int:
    """Bytes of optimizer state for trainable tensors of these shapes."""
    return sum(_tensor_bytes(train, shape) for shape in shapes)


def paged_bytes(train: TrainConfig, shapes: Iterable[Shape]) -> int:
    """The part of `state_bytes` that a GPU can move to main memory (paged optimizers)."""
    if "paged" not in train.optim:
        return 0
    return sum(_tensor_bytes(train, s) for s in shapes if math.prod(s) >= _SMALLEST_PAGED)


def describe(train: TrainConfig) -> str:
    """The rule in words, e.g. `8 B per trainable parameter`."""
    if train.optim == "adafactor":
        return "4 B per row and column of each matrix, 4 B per element of a vector"
    if train.optim in _STATES_8BIT:
        each = _STATES_8BIT[train.optim] * (1 + 4 / _BLOCK)
        return f"{each:.2f} B per trainable parameter; 32 bits below {_SMALLEST_8BIT:,} elements"
    return f"{4 * _states_32bit(train)} B per trainable parameter"


def _tensor_bytes(train: TrainConfig, shape: Shape) -> int:
    size = math.prod(shape)
    if train.optim == "adafactor":
        if len(shape) < 2:
            return 4 * size
        return 4 * (math.prod(shape[:-1]) + math.prod(shape[:-2]) * shape[-1])
    if train.optim in _STATES_8BIT:
        states = _STATES_8BIT[train.optim]
        if size < _SMALLEST_8BIT:
            return 4 * states * size
        return states * (size + 4 * math.ceil(size / _BLOCK))
    return 4 * _states_32bit(train) * size


def _states_32bit(train: TrainConfig) -> int:
    states = _STATES_32BIT[train.optim]
    options = train.optim_args
    if train.optim in ("sgd", "rmsprop") and options.get("momentum"):
        states += 1
    if train.optim == "rmsprop" and options.get("centered"):
        states += 1
    if train.optim.startswith("adamw_torch") and options.get("amsgrad"):
        states += 1
    return states
