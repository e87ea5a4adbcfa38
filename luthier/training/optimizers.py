"""Optimizers under their Hugging Face names (`transformers.training_args.OptimizerNames`)."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable
from typing import Any

import torch

from luthier.errors import LuthierError, MissingExtra, unknown
from luthier.training.config import TrainConfig

# Hugging Face name -> class in bitsandbytes.optim.
BITSANDBYTES = {
    "adamw_bnb_8bit": "AdamW8bit",
    "paged_adamw_32bit": "PagedAdamW32bit",
    "paged_adamw_8bit": "PagedAdamW8bit",
    "lion_32bit": "Lion32bit",
    "lion_8bit": "Lion8bit",
    "paged_lion_32bit": "PagedLion32bit",
    "paged_lion_8bit": "PagedLion8bit",
    "rmsprop_bnb": "RMSprop32bit",
    "rmsprop_bnb_8bit": "RMSprop8bit",
    "adagrad_bnb_8bit": "Adagrad8bit",
    "sgd_bnb_8bit": "SGD8bit",
}


def build(parameters: Iterable[torch.nn.Parameter], train: TrainConfig) -> torch.optim.Optimizer:
    """Make the optimizer a recipe asks for.

    Vectors (biases, norm scales) are not decayed, as in Hugging Face's Trainer.

    Raises:
        MissingExtra: a bitsandbytes optimizer without bitsandbytes.
        LuthierError: an entry of `optim_args` that the optimizer does not take.
    """
    trained = [p for p in parameters if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": train.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    make, options = _recipe_for(train)
    _require_arguments(make, train)
    options |= train.optim_args
    try:
        optimizer: torch.optim.Optimizer = make(groups, lr=train.learning_rate, **options)
    except (TypeError, ValueError) as error:
        raise LuthierError(f"train.optim_args ({train.optim}): {error}") from None
    return optimizer


_SETTINGS = {
    "lr": "train.learning_rate",
    "weight_decay": "train.weight_decay",
    "betas": "train.adam_beta1 and train.adam_beta2",
    "params": "what is trained",
}
"""Arguments that a recipe sets elsewhere."""


def _require_arguments(make: Any, train: TrainConfig) -> None:
    """Refuse entries of `optim_args` that the optimizer does not take, or would choke on later."""
    taken = inspect.signature(make).parameters
    accepted = sorted(taken.keys() - _SETTINGS.keys())
    for name in train.optim_args:
        where = f"train.optim_args ({train.optim}): "
        if name in _SETTINGS and name in taken:
            raise LuthierError(f"train.optim_args: {name} is set by {_SETTINGS[name]}.")
        if name not in taken:
            raise LuthierError(where + unknown("argument", name, accepted))
        if isinstance(taken[name].default, tuple):
            shape = f"{len(taken[name].default)} numbers, which optim_args cannot give"
            raise LuthierError(f"{where}{name} is {shape}; leave it out.")


def _recipe_for(train: TrainConfig) -> tuple[Any, dict[str, Any]]:
    adam = {"betas": (train.adam_beta1, train.adam_beta2), "eps": train.adam_epsilon}
    match train.optim:
        case "adamw_torch":
            return torch.optim.AdamW, adam
        case "adamw_torch_fused":
            return torch.optim.AdamW, {**adam, "fused": True}
        case "sgd":
            return torch.optim.SGD, {}
        case "rmsprop":
            return torch.optim.RMSprop, {}
        case "adagrad":
            return torch.optim.Adagrad, {}
        case "adafactor":
            from transformers.optimization import Adafactor

            # A fixed learning rate from the schedule, as Hugging Face's Trainer sets it up.
            return Adafactor, {"scale_parameter": False, "relative_step": False}
    return _bitsandbytes_class(train.optim), _bitsandbytes_options(train, adam)


def _bitsandbytes_class(name: str) -> Any:
    try:
        import bitsandbytes
    except ImportError:
        raise MissingExtra(f"optim: {name}", "bnb") from None
    if name.startswith("paged"):
        # On a CPU there is nothing to page to; the plan has said so (checks/paged_on_cpu.py).
        warnings.filterwarnings("ignore", message="Paged optimizers are not supported on CPU")
    return getattr(bitsandbytes.optim, BITSANDBYTES[name])


def _bitsandbytes_options(train: TrainConfig, adam: dict[str, Any]) -> dict[str, Any]:
    if "adamw" in train.optim:
        return adam
    if "lion" in train.optim:
        return {"betas": adam["betas"]}
    if "sgd" in train.optim:
        # bitsandbytes has no plain SGD: its 8-bit state is the momentum.
        return {"momentum": 0.9}
    return {}
