"""FSDP2: weights, gradients and the optimizer's state shared out over the processes.

`torch.distributed.fsdp.fully_shard` (Zhao et al. 2023, arXiv:2304.11277; its second version splits
every parameter by its first dimension). Each decoder layer is a unit, gathered while it runs;
embeddings, head and what else there is are another, which stays gathered through a forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from luthier import model as models
from luthier.errors import LuthierError, nearest
from luthier.launch import Place
from luthier.training import checkpoint
from luthier.training.config import FsdpSection
from luthier.training.parallel import Replicas, Result, whole


class Shards(Replicas):
    """Processes with a part of every weight each.

    Args:
        mine: this process's place.
        device: where its part is.
        config: `train.fsdp_config`.
    """

    in_lockstep = True

    def __init__(self, mine: Place, device: torch.device, config: FsdpSection) -> None:
        super().__init__(mine, device)
        self.config = config

    def shard(self, model: torch.nn.Module) -> torch.nn.Module:
        mesh = init_device_mesh(self.device.type, (self.size,))
        options = {"mesh": mesh, "reshard_after_forward": self.config.reshard_after_forward}
        names = self.config.transformer_layer_cls_to_wrap
        for layer in _layers(model, names):
            fully_shard(layer, **options)
        fully_shard(model, **options)
        for module in model.modules():
            if isinstance(module, FSDPModule):
                # The loss is divided by the tokens of all processes: a sum, not a mean.
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)
        # Parts of the model are called one by one; this makes them one forward pass of the whole.
        model.do_inside = _do  # type: ignore[assignment]
        register_fsdp_forward_method(model, "do_inside")
        return model

    # --- a step -----------------------------------------------------------------------------

    def inside(self, model: torch.nn.Module, work: Callable[[], Result]) -> Result:
        found: Result = model.do_inside(work)  # type: ignore[operator]
        return found

    def add_up(self, parameters: Sequence[torch.nn.Parameter], loss: float) -> float:
        # The backward pass has summed the gradients.
        return self.sum([loss])[0]

    # --- state ------------------------------------------------------------------------------

    def weights(self, model: torch.nn.Module) -> Mapping[str, Tensor]:
        _reshard(model)
        return self._gathered(checkpoint.trained(model))

    def set_weights(self, model: torch.nn.Module, weights: dict[str, Tensor]) -> None:
        _reshard(model)
        parameters = checkpoint.trained(model)
        placed = {name: like(w, parameters.get(name, w)) for name, w in weights.items()}
        checkpoint.set_weights(model, placed)

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        state = optimizer.state_dict()
        return {**state, "state": {k: self._gathered(v) for k, v in state["state"].items()}}

    def set_optimizer_state(self, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        placed = {
            index: {
                name: like(value, parameters[index])
                if isinstance(value, Tensor) and value.shape == parameters[index].shape
                else value
                for name, value in moments.items()
            }
            for index, moments in state["state"].items()
        }
        optimizer.load_state_dict({**state, "state": placed})

    def make_whole(self, model: torch.nn.Module) -> None:
        _reshard(model)
        plain: dict[int, torch.nn.Parameter] = {}
        for module in list(model.modules()):
            for name, parameter in list(module.named_parameters(recurse=False)):
                if id(parameter) not in plain:  # tied weights stay tied
                    value = self._kept(parameter.detach())
                    plain[id(parameter)] = torch.nn.Parameter(value, parameter.requires_grad)
                module._parameters[name] = plain[id(parameter)]
            if isinstance(module, FSDPModule):
                module.__class__ = type(module).__mro__[2]

    def _gathered(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: self._kept(value) if isinstance(value, Tensor) else value
            for name, value in tensors.items()
        }

    def _kept(self, value: Tensor) -> Tensor:
        """The whole tensor in main memory, on the process that writes; an empty one elsewhere."""
        gathered = whole(value)
        return gathered.cpu() if self.writes else gathered.new_empty(0)


def _reshard(model: torch.nn.Module) -> None:
    """Some units stay gathered after a forward pass without a backward pass."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def _do(work: Callable[[], Result]) -> Result:
    return work()


def like(value: Tensor, other: Tensor) -> Tensor:
    """A whole tensor, which every process has, shared out as another one is."""
    if not isinstance(other, DTensor):
        return value
    there = value.to(other.device)
    return distribute_tensor(there, other.device_mesh, other.placements, src_data_rank=None)


def _layers(model: Any, names: Sequence[str] | None) -> list[torch.nn.Module]:
    """The modules of the given classes, or of those that the architecture calls its layers.

    Raises:
        LuthierError: there is none.
    """
    decoder = models.decoder(model)
    wanted = set(names or getattr(decoder, "_no_split_modules", None) or [])
    found = [module for module in decoder.modules() if type(module).__name__ in wanted]
    if not found:
        classes = {type(module).__name__ for module in decoder.modules()}
        hint = nearest(names[0], classes) if names else ""
        raise LuthierError(
            f"train.fsdp_config.transformer_layer_cls_to_wrap: {type(decoder).__name__} has no "
            f"layers of the class {' or '.join(sorted(wanted)) or '(none is named)'}.{hint}"
        )
    return found
