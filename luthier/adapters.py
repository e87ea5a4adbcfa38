"""Low-rank adapters: attach, load and save them (peft does the arithmetic)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.atomic import atomic_write
from luthier.errors import ModelError, nearest
from luthier.locate import first_line, hushed
from luthier.training.config import LoraSection

if TYPE_CHECKING:
    from torch import Tensor

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def attach(model: Any, lora: LoraSection) -> Any:
    """Put a fresh LoRA adapter on a model; its parameters are fp32 and alone trainable.

    The caller seeds torch before. Low-rank adaptation: Hu et al. 2021, arXiv:2106.09685.

    Raises:
        ModelError: `target_modules`, `modules_to_save` or layer indices the model does not have,
            or an initialisation that a quantized base does not allow.
    """
    import peft

    config = peft.LoraConfig(
        task_type="SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM",
        revision=getattr(model, "base_revision", None),
        r=lora.r,
        lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        target_modules=_find_targets(model, lora),
        layers_to_transform=lora.layers_to_transform,
        layers_pattern=lora.layers_pattern,
        use_rslora=lora.use_rslora,
        use_dora=lora.use_dora,
        bias=lora.bias,
        modules_to_save=lora.modules_to_save,
        init_lora_weights=lora.init_lora_weights,
    )
    rewrites_base = lora.init_lora_weights in ("pissa", "olora")
    if rewrites_base and getattr(model, "is_quantized", False):
        raise ModelError(
            f"train.lora.init_lora_weights: '{lora.init_lora_weights}' rewrites the base's "
            "weights, which are quantized. Use true or gaussian, or train.quantization: null."
        )
    try:
        with hushed():
            adapted = peft.get_peft_model(model, config, autocast_adapter_dtype=True)
    except (ValueError, TypeError, NotImplementedError, re.error) as error:
        raise ModelError(f"train.lora: {first_line(error)}") from error
    if rewrites_base:
        adapted.first_values = {n: v.clone() for n, v in _adapter_state(adapted).items()}
    return adapted


def linear_modules(model: Any) -> list[str]:
    """Last names of the linear layers of a model but the LM head, e.g. `q_proj`; sorted."""
    from torch.nn import Linear
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    return sorted(
        {
            name.rpartition(".")[2]
            for name, module in model.named_modules()
            if isinstance(module, (Linear, Conv1D)) and module is not head
        }
    )


def save(model: Any, folder: Path) -> None:
    """Write an adapter in peft's format; equal weights give equal bytes.

    PiSSA and OLoRA move a part of the base's weights into the adapter. What is written fits the
    base as it was: A B - A0 B0, which is a LoRA of twice the rank.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    import safetensors.torch
    import torch

    config = model.peft_config["default"].to_dict()
    config.update(inference_mode=True, target_modules=_sorted(config["target_modules"]))
    state = _adapter_state(model)
    if first := getattr(model, "first_values", None):
        scale = config["lora_alpha"] / (config["r"] ** (0.5 if config["use_rslora"] else 1))
        rank = 2 * config["r"]
        config.update(r=rank, lora_alpha=scale * rank, use_rslora=False, init_lora_weights=True)
        for name, value in first.items():
            if ".lora_A." in name:
                state[name] = torch.cat([state[name], value.to(state[name].device)], dim=0)
            elif ".lora_B." in name:
                state[name] = torch.cat([state[name], -value.to(state[name].device)], dim=1)
    tensors = {name: value.cpu().contiguous() for name, value in state.items()}
    with atomic_write(folder / WEIGHTS) as file:
        file.write(safetensors.torch.save(tensors, metadata={"format": "pt"}))
    with atomic_write(folder / CONFIG) as file:
        file.write(json.dumps(config, indent=2, sort_keys=True, default=_sorted).encode() + b"\n")


def _adapter_state(model: Any) -> dict[str, Tensor]:
    import peft

    state: dict[str, Tensor] = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    return {name: value.detach() for name, value in state.items()}


def _sorted(names: Any) -> Any:
    return names if isinstance(names, str) or names is None else sorted(names)


def load(model: Any, folder: Path, *, trainable: bool = False) -> Any:
    """Put a saved adapter on the model it was trained on.

    Raises:
        ModelError: no adapter there, a damaged one, or one of another model.
    """
    import peft
    from safetensors import SafetensorError

    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise ModelError(f"{folder} is not an adapter: there is no {name} in it.")
    try:
        with hushed():
            return peft.PeftModel.from_pretrained(model, str(folder), is_trainable=trainable)
    except (SafetensorError, ValueError, TypeError, RuntimeError, KeyError) as error:
        raise ModelError(
            f"{folder}: the adapter is damaged or does not fit the model: {first_line(error)}"
        ) from error


def _find_targets(model: Any, lora: LoraSection) -> list[str] | str:
    """The target modules in peft's terms, after all names and indices have been looked up.

    peft takes a list that is wrong in part, and under `all-linear` would lose layers_to_transform.
    """
    known = linear_modules(model)
    names = {name for name, _ in model.named_modules()}
    ends = {part for name in names for part in _endings(name)}
    for module in lora.modules_to_save or []:
        if module not in ends:
            raise ModelError(
                f"train.lora.modules_to_save: the model has no module '{module}'."
                f"{nearest(module, {n.rpartition('.')[2] for n in names})}"
            )
    config = model.config.get_text_config()
    count = max(config.num_hidden_layers, getattr(config, "num_decoder_layers", 0))
    indices = lora.layers_to_transform
    for index in [indices] if isinstance(indices, int) else indices or []:
        if not 0 <= index < count:
            raise ModelError(
                f"train.lora.layers_to_transform: no layer {index}; the model's {count} layers "
                f"are 0 to {count - 1}."
            )
    chosen = lora.target_modules
    if chosen == "all-linear":
        return known
    if isinstance(chosen, str) and not re.fullmatch(r"[\w.-]+", chosen):
        return chosen  # a regular expression over full names
    chosen = [chosen] if isinstance(chosen, str) else chosen
    for target in chosen:
        if target not in ends:
            raise ModelError(
                f"train.lora.target_modules: the model has no module '{target}'."
                f"{nearest(target, known)} Its linear layers: {', '.join(known)}."
            )
    return chosen


def _endings(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[start:]) for start in range(len(parts)))
