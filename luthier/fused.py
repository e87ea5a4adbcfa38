"""Norms and gated activations in fewer passes over memory, exactly as the model has them.

Around frozen weights, most of what a training step on a CPU does beside matrix products is to
walk over activations. `fuse` finds the modules whose arithmetic is the common one (by trying
it on a few numbers, not by their names) and lets them walk less and keep less for the
backward pass; all others stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _FrozenRMSNorm(torch.autograd.Function):  # type: ignore[misc]
    """x / rms(x) * weight with a frozen weight (Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """(..., n) and (n,), of one dtype -> (..., n)."""
        square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_()
        scale = square.div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).mul_(weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """With s = 1 / rms(x): s (g w) - x s^3 mean(g w x)."""
        x, weight, scale = ctx.saved_tensors
        weighted = grads[0] * weight
        along = (weighted * x).sum(-1, keepdim=True).mul_(scale**3).div_(-x.shape[-1])
        return weighted.mul_(scale).addcmul_(x, along), None, None


class _GatedSilu(torch.autograd.Function):  # type: ignore[misc]
    """silu(gate) * up (SwiGLU: Shazeer 2020, arXiv:2002.05202); silu(gate) is computed twice."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        """Of one shape and dtype."""
        ctx.save_for_backward(gate, up)
        return F.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of gate and up."""
        gate, up = ctx.saved_tensors
        of_gate = torch.ops.aten.silu_backward(grads[0] * up, gate)
        return of_gate, F.silu(gate).mul_(grads[0])


def fuse(model: nn.Module) -> None:
    """Let frozen RMS norms and gated MLPs of a model compute as above while x is of their dtype."""
    for module in model.modules():
        if _is_rms_norm(module):
            module.__class__ = _short_norm(type(module))  # type: ignore[arg-type]
        elif _is_gated_mlp(module):
            module.__class__ = _short_mlp(type(module))  # type: ignore[arg-type]


@cache  # one class for all layers
def _short_norm(kind: Any) -> Any:
    class Short(kind):  # type: ignore[misc]
        def forward(self, hidden_states: Tensor) -> Tensor:
            if self.weight.requires_grad or hidden_states.dtype != self.weight.dtype:
                out: Tensor = super().forward(hidden_states)
                return out
            out = _FrozenRMSNorm.apply(hidden_states, self.weight, self.variance_epsilon)
            return out

    return _named_as(Short, kind)


@cache
def _short_mlp(kind: Any) -> Any:
    class Short(kind):  # type: ignore[misc]
        def forward(self, x: Tensor) -> Tensor:
            gate, up = self.gate_proj(x), self.up_proj(x)
            out: Tensor = self.down_proj(_GatedSilu.apply(gate, up))
            return out

    return _named_as(Short, kind)


def _named_as(short: Any, kind: Any) -> Any:
    short.__name__, short.__qualname__ = kind.__name__, kind.__qualname__
    return short


def _is_rms_norm(module: Any) -> bool:
    eps = getattr(module, "variance_epsilon", None)
    weight = getattr(module, "weight", None)
    if not isinstance(eps, float) or not isinstance(weight, Tensor) or weight.ndim != 1:
        return False
    stand_in = SimpleNamespace(weight=torch.linspace(0.5, 2, 9, device="cpu"), variance_epsilon=eps)
    x = torch.linspace(-2, 3, 9, device="cpu")[None]
    return _agrees(
        lambda: type(module).forward(stand_in, x),
        lambda: _FrozenRMSNorm.apply(x, stand_in.weight, eps),
    )


def _is_gated_mlp(module: Any) -> bool:
    names = {name for name, _ in module.named_children()}
    if names != {"gate_proj", "up_proj", "down_proj", "act_fn"}:
        return False
    stand_in = SimpleNamespace(
        gate_proj=lambda x: 2 * x - 1,
        up_proj=lambda x: 3 - x,
        down_proj=lambda x: x / 2,
        act_fn=module.act_fn,
    )
    x = torch.linspace(-4, 4, 9, device="cpu")[None]
    return _agrees(
        lambda: type(module).forward(stand_in, x),
        lambda: _GatedSilu.apply(2 * x - 1, 3 - x) / 2,
    )


def _agrees(own: Callable[[], Tensor], short: Callable[[], Tensor]) -> bool:
    """Whether a module's own arithmetic is the short one, tried without its weights."""
    with torch.no_grad():
        try:
            return bool(torch.allclose(own(), short(), rtol=1e-5, atol=1e-6))
        except (AttributeError, TypeError, RuntimeError):
            return False  # it needs more than the common arithmetic does
