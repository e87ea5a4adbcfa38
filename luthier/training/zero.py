"""DeepSpeed's ZeRO: the optimizer's state, gradients and weights shared out over the processes.

DeepSpeed writes checkpoints as pickles, so there are none here: a run that was cut short starts
again from its first step. (FSDP2, `sharding.py`, shares out as much and resumes.)
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from luthier.errors import MissingExtra
from luthier.launch import Place
from luthier.locate import hushed
from luthier.training.config import DeepspeedSection
from luthier.training.parallel import Replicas

try:
    with hushed():
        import deepspeed
except ModuleNotFoundError as error:
    if error.name != "deepspeed":
        raise
    raise MissingExtra("train.deepspeed", "deepspeed") from None


class Zero(Replicas):
    """Processes that DeepSpeed shares the training out over.

    Args:
        mine: this process's place.
        device: where its part is.
        config: `train.deepspeed`.
    """

    in_lockstep = True
    has_gradients = False
    saves = False

    def __init__(self, mine: Place, device: torch.device, config: DeepspeedSection) -> None:
        super().__init__(mine, device)
        self.config = config
        self.engine: Any = None

    def attach(
        self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, max_grad_norm: float
    ) -> None:
        logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
        with hushed():
            self.engine, *_ = deepspeed.initialize(
                model=model,
                optimizer=optimizer,
                config=settings(self.config, self.size, max_grad_norm),
                dist_init_required=False,
            )
        # Off by itself in fp32: it would take steps with gradients that are not finite.
        self.engine.optimizer.check_grad_overflow = True

    # --- a step -----------------------------------------------------------------------------

    def backward(self, loss: Tensor, *, last: bool) -> None:
        self.engine.set_gradient_accumulation_boundary(last)
        # DeepSpeed takes the mean over the processes; the loss is divided by all their tokens.
        self.engine.backward(loss * self.size)

    def add_up(self, parameters: Sequence[torch.nn.Parameter], loss: float) -> float:
        return self.sum([loss])[0]

    def clip(self, parameters: Sequence[torch.nn.Parameter], limit: float) -> float:
        # Clips, and takes the step unless the norm is not finite.
        self.engine.step()
        norm = float(self.engine.get_global_grad_norm())
        return norm if norm >= 0 else math.nan  # DeepSpeed says -1 where it is not finite

    def take_step(self, scaler: torch.amp.GradScaler, optimizer: torch.optim.Optimizer) -> None:
        """`clip` has."""

    # --- state ------------------------------------------------------------------------------

    def weights(self, model: torch.nn.Module) -> Mapping[str, Tensor]:
        return {n: self._kept(p) for n, p in model.named_parameters() if p.requires_grad}

    def make_whole(self, model: torch.nn.Module) -> None:
        plain: dict[int, torch.nn.Parameter] = {}
        for module in list(model.modules()):
            for name, parameter in list(module.named_parameters(recurse=False)):
                if id(parameter) not in plain:  # tied weights stay tied
                    value = self._kept(parameter)
                    plain[id(parameter)] = torch.nn.Parameter(value, parameter.requires_grad)
                module._parameters[name] = plain[id(parameter)]
        self.engine.destroy()

    def _kept(self, parameter: Tensor) -> Tensor:
        """The whole weight in main memory, on the process that writes; an empty one elsewhere."""
        partitioned = hasattr(parameter, "ds_id")  # stage 3
        gathered = (
            deepspeed.zero.GatheredParameters([parameter])
            if partitioned
            else contextlib.nullcontext()
        )
        with gathered:
            data = parameter.detach()
            return data.to("cpu", copy=True) if self.writes else data.new_empty(0)


def settings(config: DeepspeedSection, size: int, max_grad_norm: float) -> dict[str, Any]:
    """The configuration that DeepSpeed is given.

    Args:
        config: `train.deepspeed`.
        size: number of processes.
        max_grad_norm: 0: no clipping.
    """
    zero = config.zero_optimization.model_dump(exclude_none=True)
    return {
        # Nothing but their product is looked at: batches and their number are luthier's.
        "train_batch_size": size,
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": max_grad_norm,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 2**31,
    }
