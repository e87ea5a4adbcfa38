"""Products with frozen weights: bf16 where nothing is lost, one pass where an adapter adds to them.

bf16 autocast rounds small LoRA updates away; here only `x @ W.T` with the frozen W is computed in
bf16, and the adapter, its addition and everything between layers stay in fp32.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D


class _FrozenProduct(torch.autograd.Function):
    """x @ W.T with a frozen bf16 W, for x of any float dtype; no gradient for W is computed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return F.linear(x.to(weight.dtype), weight).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        return (grads[0].to(weight.dtype) @ weight).to(grads[0].dtype), None


class FrozenLinear(nn.Linear):
    """A linear layer that computes in the dtype of its weight while that is frozen."""

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.requires_grad:
            return super().forward(x)
        product: Tensor = _FrozenProduct.apply(x, self.weight)
        return product if self.bias is None else product + self.bias


class FrozenConv1D(Conv1D):
    """The same for GPT-2's linear layers, whose weight is (in, out)."""

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.requires_grad:
            return super().forward(x)
        product: Tensor = _FrozenProduct.apply(x, self.weight.t())
        return product + self.bias


def round_frozen_weights(model: nn.Module) -> None:
    """Let frozen products be computed in bf16 from here on, and let go of the weights' file.

    Not before adapters are attached: those that start from the weights (PiSSA, DoRA) are to see
    them in fp32. Weights that were loaded on a CPU lie in a mapped file, which stays resident as a
    whole while one tensor of it is in use: what is not rounded is copied out of it.
    """
    for name, module in model.named_modules():
        if ".modules_to_save." in name:  # trained, though they may be frozen now
            continue
        if isinstance(module, (FrozenLinear, FrozenConv1D)) and not module.weight.requires_grad:
            module.weight.data = module.weight.data.to(torch.bfloat16)
    for tensor in (*model.parameters(), *model.buffers()):
        loaded = tensor.device.type == "cpu" and tensor.dtype != torch.bfloat16
        if loaded and not tensor.requires_grad:
            tensor.data = tensor.data.clone()


class _AdaptedProduct(torch.autograd.Function):
    """x @ W.T + bias + scale * (dropout(x) @ A.T) @ B.T with a frozen W, in few passes over memory.

    The same arithmetic as peft's separate modules; the low-rank part is added in place, so neither
    the scaled update nor a sum of gradients is ever a tensor of its own.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        scale: float,
        dropped: Tensor | None,
    ) -> Tensor:
        """(..., in), (out, in) bf16 or as x, (rank, in), (out, rank) -> (..., out), as x.

        `dropped` (rows, in) bool says which inputs the adapter does not see; the scale makes up
        for them already.
        """
        rows = x.reshape(-1, x.shape[-1])
        out = (rows.to(weight.dtype) @ weight.t()).to(x.dtype)
        if bias is not None:
            out += bias
        seen = rows if dropped is None else rows.masked_fill(dropped, 0)
        narrow = seen @ a.t()
        out.addmm_(narrow, b.t(), alpha=scale)
        ctx.save_for_backward(rows, narrow, weight, a, b, dropped)
        ctx.scale, ctx.shape = scale, x.shape
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, A and B."""
        rows, narrow, weight, a, b, dropped = ctx.saved_tensors
        grad = grads[0].reshape(-1, grads[0].shape[-1])
        grad_narrow = (grad @ b).mul_(ctx.scale)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = (grad.to(weight.dtype) @ weight).to(grad.dtype)
            if dropped is None:
                grad_x.addmm_(grad_narrow, a)
            else:
                grad_x += (grad_narrow @ a).masked_fill_(dropped, 0)
            grad_x = grad_x.view(ctx.shape)
        seen = rows if dropped is None else rows.masked_fill(dropped, 0)
        # Transposed, the sum over rows is the fast way round for narrow products on a CPU.
        grad_b = (narrow.t() @ grad).t().mul_(ctx.scale)
        return grad_x, None, None, grad_narrow.t() @ seen, grad_b, None, None


def draw_dropped(x: Tensor, p: float) -> tuple[Tensor, float]:
    """Draw which inputs dropout zeroes, and what the others are to be multiplied by.

    Four 16-bit draws are taken from each random 64-bit number, so p is met to 1 in 65,536; the
    factor is exact for the p drawn with. A draw for each number, as torch does it, takes a third
    of a training step on a CPU.

    Returns:
        (rows, features) bool, and 1 / (1 - p).
    """
    count = x.numel()
    draws = torch.empty((count + 3) // 4, dtype=torch.int64, device=x.device)
    draws.random_(-(2**63), None)
    below = round(p * 65536)
    dropped = draws.view(torch.int16)[:count].view(-1, x.shape[-1]) < below - 32768
    return dropped, 65536 / (65536 - below)


def add_adapters_in_place(model: Any) -> None:
    """Let plain LoRA layers on frozen weights compute through one product.

    Layers that do more (DoRA, several adapters, merged or switched-off ones) keep peft's own
    forward, each time it is called. Not for models that run under autocast, which rounds products
    on its own.
    """
    from peft.tuners.lora.layer import Linear

    class AdaptedLinear(Linear):
        """peft's LoRA layer with a shorter way through the plain case."""

        def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            base, names = self.base_layer, self.active_adapters
            name = names[0] if names else ""
            plain = (
                not (args or kwargs or self.disable_adapters or self.merged)
                and len(names) == 1
                and name in self.lora_A
                and name not in self.lora_variant
                and not self.lora_bias[name]
                and type(base) in (nn.Linear, FrozenLinear)
                and not base.weight.requires_grad
                and not (base.bias is not None and base.bias.requires_grad)
                and x.dtype == self.lora_A[name].weight.dtype
            )
            if not plain:
                return super().forward(x, *args, **kwargs)
            if type(base) is nn.Linear and base.weight.dtype != x.dtype:
                return super().forward(x, *args, **kwargs)
            scale, dropped = self.scaling[name], None
            dropout = self.lora_dropout[name]
            if self.training and isinstance(dropout, nn.Dropout):
                dropped, factor = draw_dropped(x, dropout.p)
                scale *= factor
            a, b = self.lora_A[name].weight, self.lora_B[name].weight
            product: Tensor = _AdaptedProduct.apply(x, base.weight, base.bias, a, b, scale, dropped)
            return product

    for module in model.modules():
        if type(module) is Linear:
            module.__class__ = AdaptedLinear
