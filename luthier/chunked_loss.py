"""A loss over the LM head in chunks, so that logits exist for few tokens at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CHUNK = 1024
"""Trained tokens whose logits exist at the same time; (CHUNK, vocabulary) float32."""

LossOf = Callable[[int, Tensor], Tensor]
"""(first token, hidden states of up to CHUNK tokens) -> their summed loss."""


def sum_over_chunks(model: Any, hidden: Tensor, loss_of: LossOf) -> Tensor:
    """Sum a loss over all tokens.

    Args:
        model: whose head `loss_of` uses, plain or wrapped by peft.
        hidden: (tokens, hidden).
        loss_of: the loss of a chunk.

    Returns:
        Scalar float32.
    """
    if torch.is_grad_enabled() and hidden.requires_grad and _is_head_frozen(model, hidden):
        at_once: Tensor = _WithGradient.apply(hidden, loss_of)
        return at_once
    total = hidden.new_zeros((), dtype=torch.float32)
    several = len(hidden) > CHUNK and torch.is_grad_enabled()
    for start in range(0, len(hidden), CHUNK):
        part = hidden[start : start + CHUNK]
        # One chunk keeps its logits for the backward pass; more are computed again there.
        if several:
            total = total + checkpoint(loss_of, start, part, use_reentrant=False)
        else:
            total = total + loss_of(start, part)
    return total


class _WithGradient(torch.autograd.Function):  # type: ignore[misc]
    """The gradient of the hidden states is taken at once, chunk by chunk.

    So logits never wait for the backward pass, and are never computed twice: what is kept is that
    gradient (Liger's fused linear cross-entropy, Hsu et al. 2024, arXiv:2410.10989, section 3.2).
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, loss_of: LossOf) -> Tensor:
        """(tokens, hidden) -> scalar float32."""
        grad = torch.empty_like(hidden)
        total = hidden.new_zeros((), dtype=torch.float32)
        for start in range(0, len(hidden), CHUNK):
            with torch.enable_grad():
                part = hidden[start : start + CHUNK].detach().requires_grad_()
                loss = loss_of(start, part)
            (grad[start : start + CHUNK],) = torch.autograd.grad(loss, part)
            total += loss.detach()
            del loss  # and with it the logits
        ctx.save_for_backward(grad)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """Of the hidden states."""
        (grad,) = ctx.saved_tensors
        return grad * grads[0].to(grad.dtype), None


def _is_head_frozen(model: Any, hidden: Tensor) -> bool:
    """Whether only the hidden states take a gradient, and one that their numbers can hold."""
    kind = hidden.device.type
    casts = kind != "meta" and torch.is_autocast_enabled(kind)
    if casts and torch.get_autocast_dtype(kind) == torch.float16:
        return False  # it is not scaled yet, and would vanish in fp16
    return not any(p.requires_grad for p in model.get_output_embeddings().parameters())
