"""A training step without numbers: every tensor has its shape and no storage ("meta").

Running the real model this way and adding up what is alive counts activations exactly, for any
architecture and any mix of adapters, dropout and checkpointing, where formulas for one
architecture would guess. It takes a second or a few, and no memory to speak of.

What the real step does and a step on meta tensors would not is put in its place here: the fused
attention (which never holds the (T, T) scores), autocast, dropout kernels, and 8-bit layers
(which keep their input for the backward pass). Rows that training lays end to end are laid so
here, too (`luthier.ragged`).

The one module of this package that imports torch when it is imported: its classes derive from
torch's. Everything else here imports it when it is called.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from luthier import model as models
from luthier import ragged, seq2seq
from luthier.chunked_loss import sum_over_chunks
from luthier.hardware import Precision
from luthier.planning.shapes import EndToEnd, Padded, Pairs, StepShape, Traced


def why_padded(model: Any, attn_implementation: str) -> str:
    """Why rows cannot be laid end to end; empty when they can.

    Args:
        model: on the meta device, without adapter.
        attn_implementation: as the recipe says.
    """
    with _Kernels("float32", "cpu"):
        return ragged.why_not(model, attn_implementation)


def trace_step(
    model: Any, shape: StepShape, *, precision: Precision, device: str, accumulates: bool
) -> Traced:
    """Run one micro-batch forward and backward on meta tensors.

    Args:
        model: on the meta device, adapter attached, in training mode; its `.grad`s are set.
        shape: the micro-batch.
        precision: as in training.
        device: where training will run; decides which kernels keep what.
        accumulates: gradients of an earlier micro-batch are there already.
    """
    # Frozen weights may be rounded at their first use: let that happen unseen.
    with _Kernels(precision, device), torch.no_grad():
        _decode(model, Pairs(1, 2, 1, 1) if isinstance(shape, Pairs) else Padded(1, 2, 1))
    parameters = [p for p in model.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.grad = torch.empty_like(parameter) if accumulates else None
    held = sum(p.numel() * p.element_size() for p in parameters) if accumulates else 0
    meter = _Live(model, () if accumulates else parameters)
    kernels = _Kernels(precision, device)
    layout = None
    if isinstance(shape, EndToEnd):
        layout = ragged.lay_out(shape.groups).to(torch.device("meta"))
    with (
        ragged.laid_out(model, layout, traced_for=device),
        kernels,
        _also_when_recomputing(model, kernels),
        meter,
    ):
        hidden = _decode(model, shape)
        activations = meter.live
        loss = _loss(model, hidden, shape.trained, kernels)
        del hidden
        meter.in_backward = True
        loss.backward()
    for parameter in parameters:
        parameter.grad = None
    return Traced(
        activations,
        meter.peak + held,
        meter.gradients_at_peak + held,
        meter.written,
        meter.calls,
    )


def _decode(model: Any, shape: StepShape) -> Tensor:
    """The decoder over a micro-batch, as training runs it: (lines, tokens, hidden)."""
    if isinstance(shape, Pairs):
        asked = torch.empty(shape.rows, shape.asked, dtype=torch.int64, device="meta")
        said = torch.empty(shape.rows, shape.answered, dtype=torch.int64, device="meta")
        return seq2seq.decode(model, said, seq2seq.encode(model, asked, asked))
    lines = (1, shape.tokens) if isinstance(shape, EndToEnd) else (shape.lines, shape.width)
    ids = torch.empty(lines, dtype=torch.int64, device="meta")
    given = {}
    if isinstance(shape, EndToEnd) or shape.packed:
        given["position_ids"] = ids
    if isinstance(shape, Padded) and shape.packed:
        given["attention_mask"] = torch.empty(
            shape.lines, 1, shape.width, shape.width, device="meta"
        )
    return models.hidden_states(model, input_ids=ids, **given)


def _loss(model: Any, hidden: Tensor, trained: int, kernels: _Kernels) -> Tensor:
    """Cross-entropy over the logits of `trained` positions, as in training/loss.py."""

    def of_chunk(_: int, part: Tensor) -> Tensor:
        with kernels:  # torch leaves function modes when a chunk is computed again
            logits = models.logits(model, part).float()
            targets = torch.empty(len(part), dtype=torch.int64, device="meta")
            return F.cross_entropy(logits, targets, reduction="sum")

    places = torch.empty(trained, dtype=torch.int64, device="meta")
    picked = hidden.reshape(-1, hidden.shape[-1])[places]
    return sum_over_chunks(model, picked, of_chunk)


# --- counting ----------------------------------------------------------------------------------


_WRITE_NOTHING = {
    torch.ops.aten.empty.memory_format, torch.ops.aten.empty_like.default,
    torch.ops.aten.empty_strided.default, torch.ops.aten.empty_permuted.default,
    torch.ops.aten.new_empty.default, torch.ops.aten.new_empty_strided.default,
    torch.ops.aten.detach.default,
}  # fmt: skip


class _Live(TorchDispatchMode):  # type: ignore[misc]
    """Adds up the storages that operations make, until they are freed; and what they write."""

    def __init__(self, model: Any, parameters: Sequence[Tensor]) -> None:
        super().__init__()
        self.live = self.peak = self.gradients_at_peak = 0
        self.written = self.calls = 0
        self.in_backward = False
        self.parameters = parameters
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()
        # Views of the weights come out of operations too.
        for tensor in (*model.parameters(), *model.buffers()):
            self._known.add(tensor.untyped_storage())
            if tensor.grad is not None:
                self._known.add(tensor.grad.untyped_storage())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.calls += 1
        writes = not func.is_view and func not in _WRITE_NOTHING
        for tensor in tree_iter(out):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
                self.written += tensor.numel() * tensor.element_size() if writes else 0
        if self.live > self.peak:
            self.peak = self.live
            if self.in_backward:
                self.gradients_at_peak = sum(
                    p.numel() * p.element_size() for p in self.parameters if p.grad is not None
                )
        return out

    def _count(self, storage: Any) -> None:
        if storage in self._known:
            return
        self._known.add(storage)
        size = storage.nbytes()
        self.live += size
        weakref.finalize(storage, self._free, size)

    def _free(self, size: int) -> None:
        self.live -= size


# --- standing in for the real kernels ----------------------------------------------------------


_PRODUCTS = {F.linear: 2, torch.matmul: 2, torch.bmm: 2, torch.Tensor.matmul: 2}
"""Functions that autocast runs in the low precision, and how many of their arguments it casts."""


class _Kernels(TorchFunctionMode):  # type: ignore[misc]
    """Replaces functions whose meta versions keep other tensors than the real ones."""

    def __init__(self, precision: Precision, device: str) -> None:
        super().__init__()
        dtypes = {"bf16_autocast": torch.bfloat16, "fp16_autocast": torch.float16}
        self.low, self.device = dtypes.get(precision), device
        self._cast: dict[int, Tensor] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.Tensor.__bool__ and args[0].is_meta:
            # transformers asks whether position ids show packed rows; training says so itself.
            return True
        if func is F.scaled_dot_product_attention:
            query, key, value = (self._lower(t) for t in args[:3])
            mask = kwargs.get("attn_mask")
            # Kernels add masks: one of booleans becomes one of numbers, kept for the backward.
            mask = None if mask is None else mask.to(query.dtype)
            dropout = kwargs.get("dropout_p", 0.0)
            if self.device != "cuda" and (dropout or (mask is not None and mask.requires_grad)):
                # No fused kernel there drops scores out, or gives the mask a gradient.
                return torch._scaled_dot_product_attention_math(
                    query, key, value, mask, dropout, kwargs.get("is_causal", False)
                )[0]
            if mask is not None and kwargs.get("enable_gqa") and self.device == "cuda":
                # No fused kernel there takes a mask together with fewer heads of keys.
                return torch._scaled_dot_product_attention_math(
                    query, key, value, mask, enable_gqa=True
                )[0]
            return _FusedAttention.apply(query, key, value, mask)
        if func is F.dropout and self.device == "cuda":
            rate, training = kwargs.get("p", 0.5), kwargs.get("training", True)
            return torch.native_dropout(args[0], rate, training)[0]
        if func is F.linear and getattr(args[1], "keeps_input", False):
            return _KeepsInput.apply(*args[:2])
        if self.low is not None and func in _PRODUCTS:
            count = _PRODUCTS[func]
            args = (*(self._lower(t) for t in args[:count]), *args[count:])
            if func is F.linear and len(args) > 2 and args[2] is not None:
                args = (*args[:2], self._lower(args[2]))
            kwargs = {k: self._lower(v) if isinstance(v, Tensor) else v for k, v in kwargs.items()}
        return func(*args, **kwargs)

    def _lower(self, tensor: Tensor) -> Tensor:
        if self.low is None or tensor.dtype != torch.float32:
            return tensor
        if not (tensor.is_leaf and tensor.requires_grad):
            return tensor.to(self.low)
        # Autocast keeps the low-precision copy of a trained weight until the forward pass ends.
        if id(tensor) not in self._cast:
            self._cast[id(tensor)] = tensor.to(self.low)
        return self._cast[id(tensor)]


@contextmanager
def _also_when_recomputing(model: Any, kernels: _Kernels) -> Iterator[None]:
    """Torch leaves function modes during backward(), where checkpointed layers run again."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    def enter(module: Any, inputs: Any) -> None:
        kernels.__enter__()

    def leave(module: Any, inputs: Any, output: Any) -> None:
        kernels.__exit__(None, None, None)

    with ExitStack() as stack:
        layers = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
        # A layer's own hooks are not called again; those of its attention and so on are.
        for part in (part for layer in layers for part in _parts(layer)):
            stack.callback(part.register_forward_pre_hook(enter).remove)
            # Recomputation ends by an exception, once all it needs is there.
            stack.callback(part.register_forward_hook(leave, always_call=True).remove)
        yield


def _parts(layer: Any) -> Iterator[Any]:
    """What a layer calls; T5's keep it in a list, which is not called itself."""
    for child in layer.children():
        yield from child if isinstance(child, torch.nn.ModuleList) else [child]


class _FusedAttention(torch.autograd.Function):  # type: ignore[misc]
    """What flash attention holds (Dao et al. 2022, arXiv:2205.14135): no (T, T) scores."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        batch, heads, length, _ = query.shape
        # Heads are merged without a copy afterwards: the real kernels lay them out so.
        out = query.new_empty(batch, length, heads, value.shape[-1]).transpose(1, 2)
        sums = query.new_empty(query.shape[:-1], dtype=torch.float32)
        ctx.save_for_backward(query, key, value, out, sums, mask)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value = ctx.saved_tensors[:3]
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value), None


class _KeepsInput(torch.autograd.Function):  # type: ignore[misc]
    """bitsandbytes' 8-bit product: keeps its input though its weight is frozen."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.kept = (x, weight)
        return F.linear(x, weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] @ ctx.kept[1], None
