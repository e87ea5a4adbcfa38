"""Peak memory of a training step, part by part, before any weight is fetched.

Weights, adapters, gradients and optimizer state are counted from the model built without storage;
activations come from a step traced the same way (`trace.py`). Two moments can be the peak: the
start of the backward pass (activations and logits are alive) and the optimizer's step (all
gradients are). The parts describe the higher of the two and add up to the total.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.artifacts import MemoryPart
from luthier.console import size
from luthier.errors import ModelError
from luthier.hardware import Device, Precision
from luthier.locate import published_name
from luthier.planning import optimizer_state
from luthier.planning.shapes import StepShape, Traced
from luthier.recipe import ModelSection
from luthier.run import RUNS
from luthier.training.config import QuantizationSection, TrainConfig

if TYPE_CHECKING:
    from torch import nn

_NF4_BLOCK, _NESTED_BLOCK = 64, 256
"""Weights per quantization constant, and constants per second-level one (QLoRA, arXiv:2305.14314,
section 3; bitsandbytes' defaults)."""
_CODEBOOK = 16 * 4
_LIBRARIES: dict[Device, int] = {"cpu": 550_000_000, "cuda": 500_000_000, "mps": 500_000_000}
"""Resident memory of Python with torch, transformers and peft; on a GPU, the CUDA context."""
_ROUNDED = 0.15
"""Memory beyond tensors, as a share of what comes and goes, where freed blocks are given back."""
_HOLES, _HOLES_CHECKPOINTED = 0.2, 0.9
"""The same where glibc keeps them until memory runs short: the holes that a layer leaves.
Measured on three models of 6 to 60 layers, giving back at every layer: to .19, and .49 to .88."""
_KEPT = 1.25
"""What glibc then holds on to at most, beside that while there is room, as a share of what would
come and go without checkpointing. Measured on the same models, with and without it: .5 to 1.2."""
_COMES_AND_GOES = {"gradients", "activations", "logits", "temporaries"}
_KNOWN_CONFIGS = Path(__file__).with_name("known_configs.json")


@dataclass(frozen=True)
class Footprint:
    """Peak memory of a recipe on a device."""

    parts: tuple[MemoryPart, ...]
    total_parameters: int
    """Of the model, without adapters."""
    trainable_parameters: int
    written: int
    """Bytes that a forward and backward pass writes; tells how long it takes (throughput.py)."""
    calls: int
    """Operations of a forward and backward pass."""
    pageable: int
    """Bytes of optimizer state that a GPU may move to main memory (paged optimizers)."""
    kept: int = 0
    """Bytes of freed blocks that the C library may hold on to beside all this, until memory runs
    short: `out_of_memory.release` gives them back."""

    @property
    def total(self) -> int:
        """Bytes at the peak."""
        return sum(part.bytes for part in self.parts)

    def part(self, name: str) -> int:
        """Bytes of one part."""
        return sum(part.bytes for part in self.parts if part.part == name)


def open_config(section: ModelSection, runs: Path = RUNS) -> tuple[Any, str]:
    """The model's configuration, from its files or, where the hub does not answer, as published.

    Returns:
        (a `transformers.PretrainedConfig`, a remark for the user or an empty string).

    Raises:
        ModelError: the model cannot be found and is not one of the known ones.
    """
    from luthier import model as models

    try:
        return models.open_config(section, runs), ""
    except ModelError:
        known = json.loads(_KNOWN_CONFIGS.read_text(encoding="utf-8"))
        settings = known.get(published_name(section))
        if settings is None or section.revision:
            raise
    from transformers import AutoConfig

    kind = settings.pop("model_type")
    remark = f"{section.name} cannot be fetched now; planned from its published configuration"
    return AutoConfig.for_model(kind, **settings), remark


def why_padded(config: Any, train: TrainConfig) -> str:
    """Why training pads rows instead of laying them end to end; empty when it need not."""
    from luthier.planning import trace

    bare = train.model_copy(
        update={"lora": None, "quantization": None, "gradient_checkpointing": False}
    )
    model = build_without_weights(config, bare, "float32")
    return trace.why_padded(model, train.attn_implementation)


def estimate(
    config: Any,
    train: TrainConfig,
    shape: StepShape,
    *,
    precision: Precision,
    device: Device,
    keeps_freed: bool = False,
) -> Footprint:
    """Peak memory of one training step.

    Args:
        config: a `transformers.PretrainedConfig`.
        train: the recipe's `train` section.
        shape: the largest micro-batch.
        precision: as chosen by `luthier.hardware.choose_precision`.
        device: where training runs.
        keeps_freed: see `Hardware`.
    """
    from luthier.planning.trace import trace_step

    model = build_without_weights(config, train, precision)
    accumulates = train.gradient_accumulation_steps > 1
    traced = trace_step(model, shape, precision=precision, device=device, accumulates=accumulates)
    parameters = list(model.parameters())
    trained = [p for p in parameters if p.requires_grad]
    shapes = [tuple(p.shape) for p in trained]
    optimizer = optimizer_state.state_bytes(train, shapes)
    parts = _weights(parameters, train)
    how = f"{train.optim}: {optimizer_state.describe(train)}"
    parts.append(MemoryPart(part="optimizer", bytes=optimizer, how=how))
    if train.swa_start is not None:
        words = "mean of the trained weights (train.swa_start)"
        parts.append(MemoryPart(part="average", bytes=_bytes(trained), how=words))
    parts += _moving(model, train, shape, traced, trained, device, precision)
    moving = sum(p.bytes for p in parts if p.part in _COMES_AND_GOES)
    share, kept = _ROUNDED, 0
    if keeps_freed:
        share, whole = _HOLES, traced.peak
        if train.gradient_checkpointing:
            # The blocks of each layer in turn land beside what is kept of it.
            bare = train.model_copy(update={"gradient_checkpointing": False})
            plain = build_without_weights(config, bare, precision)
            share = _HOLES_CHECKPOINTED
            whole = trace_step(
                plain, shape, precision=precision, device=device, accumulates=accumulates
            ).peak
        kept = int(_KEPT * whole)
    parts += _overhead(share, moving, device, kept)
    adapters = [p for p in trained if train.lora is not None]
    return Footprint(
        parts=tuple(parts),
        total_parameters=sum(p.numel() for p in parameters) - sum(p.numel() for p in adapters),
        trainable_parameters=sum(p.numel() for p in trained),
        written=traced.written,
        calls=traced.calls,
        kept=kept,
        pageable=optimizer_state.paged_bytes(train, shapes) if device == "cuda" else 0,
    )


def build_without_weights(config: Any, train: TrainConfig, precision: Precision) -> Any:
    """The model as training will have it, on the meta device: shapes, no storage.

    Parameters that will be quantized carry the attribute `quantized`.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    from luthier import model as models
    from luthier.fused import fuse

    # Flash attention holds what the traced fused attention holds, and need not be installed.
    attention = "eager" if train.attn_implementation == "eager" else "sdpa"
    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    with torch.device("meta"):
        model: Any = kind.from_config(config, dtype=torch.float32, attn_implementation=attention)
        model.requires_grad_(train.lora is None)
        fuse(model)
        if train.quantization is not None:
            _mark_quantized(model, train.quantization)
        if train.lora is not None:
            # Adapters that start from the weights' SVD have no weights to start from here.
            lora = train.lora.model_copy(update={"init_lora_weights": True})
            model = models.attach_adapter(model, lora, precision)
    if train.gradient_checkpointing:
        models.checkpoint_activations(model)
    return model.train()


# --- what stays --------------------------------------------------------------------------------


def _mark_quantized(model: Any, quantization: QuantizationSection) -> None:
    """Mark the weights that become codes: linear layers but the head and those left out."""
    from torch import nn
    from transformers.quantizers.quantizers_utils import should_convert_module

    class Quantized(nn.Linear):  # type: ignore[misc]
        """Not exactly nn.Linear: it does its own arithmetic (see `_dequantized`)."""

    head = model.get_output_embeddings()
    skipped = quantization.llm_int8_skip_modules
    left_out = [*(skipped or []), *(model._keep_in_fp32_modules or [])]
    for name, module in model.named_modules():
        wanted = (skipped is not None or module is not head) and should_convert_module(
            name, left_out
        )
        if type(module) is nn.Linear and wanted:
            module.__class__ = Quantized
            module.weight.quantized = True
            module.weight.keeps_input = quantization.load_in_8bit


def _weights(parameters: Sequence[nn.Parameter], train: TrainConfig) -> list[MemoryPart]:
    """The model's weights by format, and the adapters."""
    quantized = [p for p in parameters if getattr(p, "quantized", False)]
    adapters = [p for p in parameters if p.requires_grad] if train.lora is not None else []
    apart = {id(p) for p in (*quantized, *adapters)}
    plain = [p for p in parameters if id(p) not in apart]
    by_size: dict[int, int] = {}
    for p in plain:
        by_size[p.element_size()] = by_size.get(p.element_size(), 0) + p.numel()
    how = [f"{count:,} parameters x {size} B" for size, count in sorted(by_size.items())]
    total = _bytes(plain)
    parts = []
    if quantized:
        assert train.quantization is not None
        stored, constants, words = _quantized_bytes(quantized, train.quantization)
        total += stored
        count = sum(p.numel() for p in quantized)
        bits = 8 if train.quantization.load_in_8bit else 4
        how.insert(0, f"{count:,} parameters x {bits} bits")
        parts.append(MemoryPart(part="quantization constants", bytes=constants, how=words))
    parts.insert(0, MemoryPart(part="weights", bytes=total, how=" + ".join(how)))
    if adapters:
        count = sum(p.numel() for p in adapters)
        words = f"{count:,} parameters x 4 B"
        parts.append(MemoryPart(part="adapters", bytes=_bytes(adapters), how=words))
    return parts


def _quantized_bytes(
    weights: Sequence[nn.Parameter], quantization: QuantizationSection
) -> tuple[int, int, str]:
    """(bytes of codes, bytes of constants, the constants in words)."""
    if quantization.load_in_8bit:
        rows = sum(p.shape[0] for p in weights)
        return sum(p.numel() for p in weights), 4 * rows, f"4 B for each of {rows:,} rows"
    codes = constants = 0
    for p in weights:
        blocks = math.ceil(p.numel() / _NF4_BLOCK)
        codes += math.ceil(p.numel() / 2)
        constants += _CODEBOOK
        if quantization.bnb_4bit_use_double_quant:
            constants += blocks + 4 * math.ceil(blocks / _NESTED_BLOCK) + 256 * 4 + 4
        else:
            constants += 4 * blocks
    each = "8 bits, themselves quantized" if quantization.bnb_4bit_use_double_quant else "4 B"
    return codes, constants, f"{each} for each block of {_NF4_BLOCK} weights"


# --- what comes and goes -----------------------------------------------------------------------


def _moving(
    model: Any,
    train: TrainConfig,
    shape: StepShape,
    traced: Traced,
    trained: Sequence[nn.Parameter],
    device: Device,
    precision: Precision,
) -> list[MemoryPart]:
    """Gradients, activations, logits and temporaries at the higher of the two peaks."""
    gradients = _bytes(trained)
    dequantized = _dequantized(model, train, precision)
    stepping = _step_temporaries(train, trained, device)
    count = sum(p.numel() for p in trained)
    if gradients + stepping > traced.peak + dequantized:
        return [
            MemoryPart(part="gradients", bytes=gradients, how=f"{count:,} parameters x 4 B"),
            MemoryPart(
                part="temporaries",
                bytes=stepping,
                how="of the optimizer's step, which is the peak: activations are freed by then",
            ),
        ]
    from luthier.chunked_loss import CHUNK

    words = model.get_output_embeddings().weight.shape[0]
    # Late in the backward pass gradients have taken the place of activations.
    activations = min(traced.activations, traced.peak - traced.gradients_at_peak)
    rest = traced.peak - activations - traced.gradients_at_peak
    # Log-probabilities, the gradient of the loss and that of the logits, in fp32.
    at_once = min(shape.trained, CHUNK)
    logits = min(rest, 12 * at_once * words)
    checkpointed = "; one layer at a time, the others' inputs only"
    return [
        MemoryPart(
            part="gradients",
            bytes=traced.gradients_at_peak,
            how=f"{count:,} parameters x 4 B = {gradients:,} B in all; so much at the peak",
        ),
        MemoryPart(
            part="activations",
            bytes=activations,
            how=str(shape) + (checkpointed if train.gradient_checkpointing else ""),
        ),
        MemoryPart(
            part="logits",
            bytes=logits,
            how=f"{at_once:,} trained tokens x {words:,} words x 12 B",
        ),
        MemoryPart(
            part="temporaries",
            bytes=rest - logits + dequantized,
            how="of the backward pass" + (", and one dequantized layer" if dequantized else ""),
        ),
    ]


def _overhead(share: float, moving: int, device: Device, kept: int) -> list[MemoryPart]:
    """What no tensor accounts for: libraries, and how the allocator makes room."""
    how = f"rounding and holes: {share:.0%} of what comes and goes"
    if kept:
        how += f"; holds on to up to {size(kept)} more, freed, until memory runs short"
    return [
        MemoryPart(part="allocator", bytes=int(share * moving), how=how),
        MemoryPart(part="libraries", bytes=_LIBRARIES[device], how="Python, torch, transformers"),
    ]


def _dequantized(model: Any, train: TrainConfig, precision: Precision) -> int:
    """Bytes of the largest quantized weight while it is multiplied with."""
    if train.quantization is None:
        return 0
    sizes = [p.numel() for p in model.parameters() if getattr(p, "quantized", False)]
    wide = train.quantization.load_in_4bit and (
        train.quantization.compute_dtype(precision) == "float32"
    )
    return max(sizes, default=0) * (4 if wide else 2)


def _step_temporaries(train: TrainConfig, trained: Sequence[nn.Parameter], device: Device) -> int:
    """Bytes that the optimizer's step makes and frees again."""
    if train.optim == "adamw_torch_fused" or optimizer_state.needs_bitsandbytes(train.optim):
        return 0
    if device == "cuda" and train.optim != "adafactor":
        # torch's default there handles all tensors at once ("foreach").
        return _bytes(trained)
    return 2 * max((p.numel() * 4 for p in trained), default=0)


def _bytes(parameters: Sequence[nn.Parameter]) -> int:
    return sum(p.numel() * p.element_size() for p in parameters)
