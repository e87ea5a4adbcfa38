"""What a process keeps where FSDP2 or ZeRO shares the model out over several.

    shared out          FSDP2    ZeRO 1   ZeRO 2   ZeRO 3
    optimizer's state     x        x        x        x
    gradients             x                 x        x
    weights, adapters     x                          x

A layer is gathered while it runs and the next one meanwhile; embeddings and head stay gathered
through a pass (Rajbhandari et al. 2020, arXiv:1910.02054, section 5; Zhao et al. 2023,
arXiv:2304.11277, section 4.2).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from luthier.artifacts import MemoryPart
from luthier.hardware import Device
from luthier.planning.memory import Footprint
from luthier.training.config import TrainConfig

_WEIGHTS = ("weights", "quantization constants", "adapters")


def shared_out(
    footprint: Footprint, config: Any, train: TrainConfig, *, processes: int, device: Device
) -> Footprint:
    """Peak memory of one of several processes.

    Args:
        footprint: of a process with the whole model.
        config: a `transformers.PretrainedConfig`.
        train: `fsdp` and `deepspeed`.
        processes: that train together.
        device: where they train.
    """
    stage = _stage(train)
    if processes == 1 or not stage:
        return footprint
    shared = ["optimizer"]
    if stage >= 2:
        shared.append("gradients")
    if stage >= 3:
        shared += _WEIGHTS
    parts = [_divided(p, processes) if p.part in shared else p for p in footprint.parts]
    if stage >= 3:
        parts.insert(1, _gathered(footprint, config, train))
    return replace(
        footprint,
        parts=tuple(_moved_off(part, train) if device == "cuda" else part for part in parts),
        pageable=footprint.pageable // processes,
    )


def _stage(train: TrainConfig) -> int:
    if train.fsdp:
        return 3
    return train.deepspeed.zero_optimization.stage if train.deepspeed else 0


def _divided(part: MemoryPart, processes: int) -> MemoryPart:
    share = math.ceil(part.bytes / processes)
    return MemoryPart(part=part.part, bytes=share, how=f"{part.how}; 1/{processes} of it here")


def _gathered(footprint: Footprint, config: Any, train: TrainConfig) -> MemoryPart:
    text = config.get_text_config()
    matrices = 1 if text.tie_word_embeddings else 2
    ends = text.vocab_size * text.hidden_size * matrices * 4
    body = max(sum(footprint.part(name) for name in _WEIGHTS) - ends, 0)
    kept = train.fsdp and not train.fsdp_config.reshard_after_forward
    layers = text.num_hidden_layers if kept else min(2, text.num_hidden_layers)
    return MemoryPart(
        part="gathered weights",
        bytes=ends + layers * math.ceil(body / text.num_hidden_layers),
        how=f"embeddings, head and {layers} of {text.num_hidden_layers} layers, whole",
    )


def _moved_off(part: MemoryPart, train: TrainConfig) -> MemoryPart:
    """ZeRO-Offload (Ren et al. 2021, arXiv:2101.06840) keeps parts in main memory."""
    if train.deepspeed is None:
        return part
    zero = train.deepspeed.zero_optimization
    offloaded = {"optimizer": zero.offload_optimizer, **dict.fromkeys(_WEIGHTS, zero.offload_param)}
    where = offloaded.get(part.part)
    if where is None or where.device == "none":
        return part
    return MemoryPart(part=part.part, bytes=0, how=f"{part.how}; in main memory")
