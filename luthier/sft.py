"""A recipe in the words of TRL and peft, and what they have no words for.

The engine `trl` and the script of `luthier eject` are told the same. Names are those of trl 1.16,
transformers 5.23 and peft 0.21; nothing of them is imported before it is needed.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from luthier import schedules
from luthier.hardware import Precision
from luthier.training.config import LoraSection, TrainConfig

_OPTIM_ARGS = {
    "sgd": ("momentum", "dampening", "weight_decay", "nesterov"),
    "adagrad": ("lr_decay", "weight_decay", "eps"),
    "rmsprop": ("momentum", "alpha", "eps", "weight_decay", "centered"),
}
"""What transformers passes on of `optim_args` (trainer_optimizer.py); the rest it drops."""
_NAMELESS = ("adagrad_bnb_8bit", "sgd_bnb_8bit")
"""Optimizers without a name in transformers (training_args.OptimizerNames)."""


class Argument(NamedTuple):
    """One argument of `SFTConfig` or `LoraConfig`."""

    name: str
    value: Any
    key: str
    """The recipe key that it comes from."""


class Gap(NamedTuple):
    """What a recipe asks for and `SFTTrainer` cannot be told."""

    key: str
    """The setting, as in a recipe."""
    why: str
    fix: str
    """What to set instead."""
    instead: str
    """What a script without it does."""


def arguments(
    train: TrainConfig, *, precision: Precision, device: str, seed: int, total_steps: int
) -> list[Argument]:
    """What `SFTConfig` is told about the weights that come out.

    Where and when to log, validate and save is for the caller to add.

    Args:
        train: settings of the recipe.
        precision: as the plan decided; what has no counterpart (`gaps`) becomes fp32.
        device: `cpu`, `cuda` or `mps`.
        seed: of the recipe.
        total_steps: optimizer steps of the whole run.
    """
    smoothing = train.label_smoothing_factor
    values: dict[str, Any] = {
        "num_train_epochs": train.num_train_epochs,
        "max_steps": train.max_steps or -1,
        "per_device_train_batch_size": train.per_device_train_batch_size,
        "gradient_accumulation_steps": train.gradient_accumulation_steps,
        "optim": "adamw_bnb_8bit" if train.optim in _NAMELESS else train.optim,
        "learning_rate": train.learning_rate,
        "adam_beta1": train.adam_beta1,
        "adam_beta2": train.adam_beta2,
        "adam_epsilon": train.adam_epsilon,
        "weight_decay": train.weight_decay,
        "lr_scheduler_type": train.lr_scheduler_type,
        "max_grad_norm": train.max_grad_norm,
        "label_smoothing_factor": smoothing if train.label_smoothing_over == "vocabulary" else 0.0,
        "neftune_noise_alpha": train.neftune_noise_alpha,
        "fp16": precision == "fp16_autocast" and device != "cpu",
        "bf16": precision == "bf16_autocast",
    }
    found = [Argument(name, value, f"train.{name}") for name, value in values.items()]
    if passed := _passed_on(train):
        text = ",".join(f"{name}={value}" for name, value in passed.items())
        found.append(Argument("optim_args", text, "train.optim_args"))
    if kwargs := _scheduler_kwargs(train, total_steps):
        found.append(Argument("lr_scheduler_kwargs", kwargs, "train.lr_scheduler_kwargs"))
    if train.warmup_steps:
        found.append(Argument("warmup_steps", train.warmup_steps, "train.warmup_steps"))
    else:  # transformers 5 reads a fraction as a share of the steps
        found.append(Argument("warmup_steps", train.warmup_ratio, "train.warmup_ratio"))
    if train.use_liger_kernel:
        found.append(Argument("use_liger_kernel", True, "train.use_liger_kernel"))
    checkpointing = (_checkpointing_name(), train.gradient_checkpointing)
    found.append(Argument(*checkpointing, "train.gradient_checkpointing"))
    found.append(Argument("use_cpu", device == "cpu", "the device of the plan"))
    found.append(Argument("seed", seed, "seed"))
    return found


def lora_arguments(lora: LoraSection) -> list[Argument]:
    """What `peft.LoraConfig` is told."""
    given = lora.model_dump().items()
    found = [Argument(name, value, f"train.lora.{name}") for name, value in given]
    kind = Argument("task_type", "CAUSAL_LM", "a decoder")
    return [kind, *(argument for argument in found if argument.value is not None)]


def gaps(train: TrainConfig, *, precision: Precision, device: str, devices: int = 1) -> list[Gap]:
    """What `SFTTrainer` cannot be told; the engine refuses it, a script does without.

    Args:
        train: settings of the recipe.
        precision: as the plan decided.
        device: `cpu`, `cuda` or `mps`.
        devices: accelerators that the process sees.
    """
    found = []
    if train.label_smoothing_factor and train.label_smoothing_over == "classes":
        found.append(
            Gap(
                "train.label_smoothing_over: classes",
                "Hugging Face's label smoothing spreads its mass over the whole vocabulary.",
                "Set train.label_smoothing_over: vocabulary, or train.label_smoothing_factor: 0.",
                "Labels are not smoothed.",
            )
        )
    if train.optim in _NAMELESS:
        found.append(
            Gap(
                f"train.optim: {train.optim}",
                "transformers has no name for this optimizer.",
                "Set train.optim: adamw_bnb_8bit.",
                "It takes adamw_bnb_8bit.",
            )
        )
    if dropped := sorted(train.optim_args.keys() - _passed_on(train).keys()):
        found.append(
            Gap(
                f"train.optim_args ({', '.join(dropped)})",
                f"transformers does not pass it on to {train.optim}.",
                "Leave it out.",
                "It is left out.",
            )
        )
    if train.swa_start is not None:
        found.append(
            Gap(
                "train.swa_start",
                "Hugging Face's trainers keep no mean of the weights.",
                "Leave it out.",
                "The weights are those of the last step.",
            )
        )
    if train.auto_find_batch_size:
        found.append(
            Gap(
                "train.auto_find_batch_size: true",
                "Hugging Face's search halves the batch without more accumulation, which is "
                "another training; luthier's measures luthier's own step.",
                "Set train.auto_find_batch_size: false and a batch size that fits.",
                "The batch size is that of the recipe.",
            )
        )
    if precision == "frozen_bf16":
        found.append(
            Gap(
                "precision frozen_bf16",
                "Products in bfloat16 with adapters in fp32 are luthier's own; Hugging Face knows "
                "fp32 and autocast.",
                "Set train.bf16: false, or train.bf16: true with train.autocast: true.",
                "Everything is computed in fp32, which is slower and learns the same; bf16=True "
                "is autocast, which rounds small adapter updates away.",
            )
        )
    if precision == "fp16_autocast" and device == "cpu":
        found.append(
            Gap(
                "train.fp16: true",
                "Accelerate leaves fp16 out on a CPU without a word.",
                "Set train.fp16: false.",
                "Everything is computed in fp32.",
            )
        )
    targets = train.lora.target_modules if train.lora is not None else []
    if "lm_head" in ([targets] if isinstance(targets, str) else targets):
        found.append(
            Gap(
                "train.lora.target_modules (lm_head)",
                "SFTTrainer multiplies by the head's own weight and refuses an adapter on it.",
                "Leave lm_head out, e.g. train.lora.target_modules: all-linear.",
                "SFTTrainer refuses it.",
            )
        )
    if devices > 1:
        found.append(
            Gap(
                f"{devices} GPUs in one process",
                "SFTTrainer refuses several GPUs without a launcher.",
                "Set CUDA_VISIBLE_DEVICES=0 in the environment.",
                "Start it with `accelerate launch`, or set CUDA_VISIBLE_DEVICES=0.",
            )
        )
    return found


def differences(train: TrainConfig) -> list[str]:
    """What Hugging Face's trainers do in another way than luthier's, for this recipe."""
    found = []
    if train.neftune_noise_alpha is not None:
        found.append(
            "NEFTune's noise is scaled by the length of the padded batch, not of each row."
        )
    if train.quantization is not None:
        found.append("Adapters over a quantized base are kept in bfloat16, not in fp32.")
    if train.lora is not None and train.lora.use_dora and train.weight_decay:
        found.append("DoRA's magnitude vectors are decayed too.")
    if train.lora is None and "8bit" in train.optim:
        found.append("The optimizer's state of embeddings is kept in 32 bits.")
    return found


def _passed_on(train: TrainConfig) -> dict[str, float | bool]:
    """The part of `optim_args` that reaches the optimizer."""
    known = _OPTIM_ARGS.get(train.optim, ())
    return {name: value for name, value in train.optim_args.items() if name in known}


def _scheduler_kwargs(train: TrainConfig, total_steps: int) -> dict[str, Any]:
    """With what transformers needs to draw the curve that `schedules.build` draws."""
    kwargs = dict(train.lr_scheduler_kwargs)
    if train.lr_scheduler_type == "warmup_stable_decay":
        stable = kwargs.get("num_stable_steps")
        left = max(total_steps - schedules.warmup_steps(train, total_steps) - (stable or 0), 0)
        share = math.ceil(schedules._DECAY_SHARE * total_steps)
        kwargs.setdefault("num_decay_steps", left if stable is not None else min(share, left))
    return kwargs


def _checkpointing_name() -> str:
    """Today's name: transformers changed it within version 5, and warns about the older one."""
    from transformers import TrainingArguments

    today = "activation_checkpointing"
    return today if today in TrainingArguments.__dataclass_fields__ else "gradient_checkpointing"
