"""Batches without padding: rows end to end, a shared prefix once, attention by layout.

Linear layers, norms and activations work on single tokens, so they are given one long line of
real tokens. Only attention must know where rows begin: each row sees its own tokens, and those of
the prefix its group shares. Attention to a prefix and to own tokens is computed apart and merged
by log-sum-exp, as blocks are in FlashAttention (Dao et al. 2022, arXiv:2205.14135, section 3.1),
so on a CPU a prefix's keys and values exist once, whatever the number of rows (elsewhere attention
repeats them for each). Being no cache, all this goes together with checkpointed activations.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface

from luthier import model as models

NAME = "luthier_ragged"
"""Of the attention function, as transformers knows it."""


@dataclass(frozen=True)
class Block:
    """Rows of similar length, padded to the longest inside attention only."""

    start: int
    stop: int
    shape: tuple[int, int]
    """(rows, tokens of the longest)."""
    padded: Tensor | None
    """(rows * longest,) int64: tokens counted from `start`; None: all rows are equally long."""
    real: Tensor | None
    """(stop - start,) int64: where the tokens are among the padded ones."""

    def pad(self, flat: Tensor) -> Tensor:
        """(S, heads, dim) -> (rows, heads, longest, dim)."""
        part = flat[self.start : self.stop]
        if self.padded is not None:
            part = part.index_select(0, self.padded)
        return part.reshape(*self.shape, *flat.shape[1:]).transpose(1, 2)

    def pad_with_zeros(self, flat: Tensor) -> Tensor:
        """The same for gradients: padding has none to give."""
        if self.real is None:
            return self.pad(flat)
        part = flat.new_zeros(self.shape[0] * self.shape[1], *flat.shape[1:])
        part.index_copy_(0, self.real, flat[self.start : self.stop])
        return part.view(*self.shape, *flat.shape[1:]).transpose(1, 2)

    def unpad(self, padded: Tensor) -> Tensor:
        """(rows, heads, longest, dim) -> (stop - start, heads, dim)."""
        part = padded.transpose(1, 2).flatten(0, 1)
        return part if self.real is None else part.index_select(0, self.real)


@dataclass(frozen=True)
class Group:
    """Rows that start with the same tokens."""

    prefix: Block | None
    """The shared tokens, as a row of their own."""
    blocks: tuple[Block, ...]

    @property
    def rows(self) -> slice:
        """Where the tokens of the rows are, the prefix left out."""
        return slice(self.blocks[0].start, self.blocks[-1].stop)


@dataclass(frozen=True)
class Layout:
    """Which of the S tokens of a line belong together."""

    groups: tuple[Group, ...]

    def to(self, device: torch.device) -> Layout:
        """The same layout on another device."""

        def moved(block: Block) -> Block:
            tensors = (block.padded, block.real)
            there = (None if t is None else t.to(device) for t in tensors)
            return Block(block.start, block.stop, block.shape, *there)

        return Layout(
            tuple(
                Group(moved(g.prefix) if g.prefix else None, tuple(moved(b) for b in g.blocks))
                for g in self.groups
            )
        )


def lay_out(groups: Sequence[tuple[int, Sequence[int]]]) -> Layout:
    """Plan the attention of a line.

    Args:
        groups: (tokens of the shared prefix or 0, tokens of each row without it), in the order
            of the line: each group's prefix, then its rows. Rows are best sorted by length.
    """
    found, at = [], 0
    for prefix, lengths in groups:
        shared = _block(at, [prefix]) if prefix else None
        at += prefix
        blocks: list[Block] = []
        run: list[int] = []
        for length in lengths:
            # A row is padded to less than twice its length.
            if run and 2 * min(*run, length) <= max(*run, length):
                blocks.append(_block(at, run))
                at, run = at + sum(run), []
            run.append(length)
        blocks.append(_block(at, run))
        at += sum(run)
        found.append(Group(shared, tuple(blocks)))
    return Layout(tuple(found))


def _block(start: int, lengths: Sequence[int]) -> Block:
    total, longest = sum(lengths), max(lengths)
    shape = (len(lengths), longest)
    if total == len(lengths) * longest:
        return Block(start, start + total, shape, None, None)
    counts = torch.tensor(lengths)
    firsts = counts.cumsum(0) - counts
    column = torch.arange(longest)
    # Padding repeats a row's last token; causal attention never looks there.
    padded = firsts[:, None] + torch.minimum(column, counts[:, None] - 1)
    real = (column < counts[:, None]).flatten().nonzero().flatten()
    return Block(start, start + total, shape, padded.flatten(), real)


# --- attention ---------------------------------------------------------------------------------

_current: Layout | None = None
_traced_for: str | None = None
"""The device whose way of computing tensors without storage take."""
_calls = 0
"""How often attention has been computed here; shows that a model asks for it at all."""


@contextlib.contextmanager
def laid_out(model: Any, layout: Layout | None, *, traced_for: str | None = None) -> Iterator[None]:
    """Inside, the model attends as `layout` says; keep it open until gradients are computed.

    (Checkpointed layers run again in the backward pass.)

    Args:
        model: plain or with an adapter.
        layout: of the line; None: the model is left as it is.
        traced_for: for a model without storage (on the device "meta"), the device whose way of
            computing it is to take.
    """
    global _current, _traced_for
    if layout is None:
        yield
        return
    config = models.decoder(model).config
    before = config._attn_implementation, _current, _traced_for
    config._attn_implementation, _current, _traced_for = NAME, layout, traced_for
    try:
        yield
    finally:
        config._attn_implementation, _current, _traced_for = before


def _attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """What transformers calls: (1, heads, S, dim) -> (1, S, heads, dim)."""
    global _calls
    assert _current is not None
    _calls += 1
    q, k, v = (t[0].transpose(0, 1) for t in (query, key, value))
    # Under autocast, rotating queries and keys has made them wider than values.
    q, k = q.to(v.dtype), k.to(v.dtype)
    scale = scaling if scaling is not None else q.shape[-1] ** -0.5
    if (_traced_for or q.device.type) == "cpu" and q.shape[-1] == v.shape[-1]:
        out: Tensor = _SplitAttention.apply(q, k, v, _current, scale)
    else:
        out = _plain_attention(q, k, v, _current, scale)
    return out[None], None


AttentionInterface.register(NAME, _attention)


def _plain_attention(q: Tensor, k: Tensor, v: Tensor, layout: Layout, scale: float) -> Tensor:
    """(S, heads, dim), keys and values with as many or fewer heads -> (S, heads, dim).

    With torch's public operations, on any device: the prefix stands in front of every row.
    """
    repeats = q.shape[1] // k.shape[1]
    masked = any(group.prefix for group in layout.groups)
    if repeats > 1 and (masked or q.dtype == torch.float32):
        # torch's fused kernels for fp32, or with a mask, want as many keys as queries; without
        # them it would hold the scores of all pairs of tokens.
        k, v = k.repeat_interleave(repeats, dim=1), v.repeat_interleave(repeats, dim=1)
    options: dict[str, Any] = {"scale": scale, "enable_gqa": q.shape[1] != k.shape[1]}
    parts = []
    for group in layout.groups:
        shared = group.prefix
        if shared:
            own = F.scaled_dot_product_attention(
                shared.pad(q), shared.pad(k), shared.pad(v), is_causal=True, **options
            )
            parts.append(shared.unpad(own))
        for block in group.blocks:
            keys, values, mask = block.pad(k), block.pad(v), None
            if shared:
                rows, width = block.shape
                before = shared.stop - shared.start
                keys = torch.cat([shared.pad(k).expand(rows, -1, -1, -1), keys], dim=2)
                values = torch.cat([shared.pad(v).expand(rows, -1, -1, -1), values], dim=2)
                mask = torch.ones(width, before + width, dtype=torch.bool, device=q.device)
                mask = mask.tril(diagonal=before)
            own = F.scaled_dot_product_attention(
                block.pad(q), keys, values, attn_mask=mask, is_causal=mask is None, **options
            )
            parts.append(block.unpad(own))
    return torch.cat(parts)


class _SplitAttention(torch.autograd.Function):  # type: ignore[misc]
    """The same on a CPU, with torch's own flash kernels: own tokens and prefix apart.

    The kernels' backward pass takes the final output and log-sum-exp, so each part is given the
    merged ones and returns its exact share of the gradients, as in ring attention (Liu et al.
    2023, arXiv:2310.01889).
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, layout: Layout, scale: float) -> Tensor:
        flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        out = q.new_empty(*q.shape[:2], v.shape[-1])
        lse = q.new_empty(q.shape[:2], dtype=torch.float32)
        for group in layout.groups:
            for block in _own_blocks(group):
                own, sums = flash(*(block.pad(t) for t in (q, k, v)), 0.0, True, scale=scale)
                out[block.start : block.stop] = block.unpad(own)
                lse[block.start : block.stop] = block.unpad(sums[..., None])[..., 0]
            if group.prefix:
                rows, shared = group.rows, group.prefix
                over, sums = flash(
                    _line(q[rows]), shared.pad(k), shared.pad(v), 0.0, False, scale=scale
                )
                sums = sums[0].t()
                merged = torch.logaddexp(lse[rows], sums)
                out[rows] *= (lse[rows] - merged).exp_()[..., None].to(out.dtype)
                share = (sums - merged).exp_()[..., None].to(out.dtype)
                out[rows].addcmul_(over[0].transpose(0, 1), share)
                lse[rows] = merged
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.layout, ctx.scale = layout, scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """Gradients of queries, keys and values."""
        flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
        q, k, v, out, lse = ctx.saved_tensors
        grad, scale = grads[0], ctx.scale
        of_q, of_k, of_v = (t.new_empty(t.shape) for t in (q, k, v))
        for group in ctx.layout.groups:
            for block in _own_blocks(group):
                sums = block.pad(lse[..., None])[..., 0]
                found = flash(
                    block.pad_with_zeros(grad), block.pad(q), block.pad(k), block.pad(v),
                    block.pad(out), sums, 0.0, True, scale=scale,
                )  # fmt: skip
                for whole, part in zip((of_q, of_k, of_v), found, strict=True):
                    whole[block.start : block.stop] = block.unpad(part)
            if group.prefix:
                rows, shared = group.rows, group.prefix
                from_q, from_k, from_v = flash(
                    _line(grad[rows]), _line(q[rows]), shared.pad(k), shared.pad(v),
                    _line(out[rows]), lse[rows].t()[None], 0.0, False, scale=scale,
                )  # fmt: skip
                of_q[rows] += from_q[0].transpose(0, 1)
                of_k[shared.start : shared.stop] += shared.unpad(from_k)
                of_v[shared.start : shared.stop] += shared.unpad(from_v)
        return of_q, of_k, of_v, None, None


def _own_blocks(group: Group) -> tuple[Block, ...]:
    return (group.prefix, *group.blocks) if group.prefix else group.blocks


def _line(flat: Tensor) -> Tensor:
    """(n, heads, dim) -> (1, heads, n, dim)."""
    return flat.transpose(0, 1)[None]


# --- when ----------------------------------------------------------------------------------------


def why_not(model: Any, attn_implementation: str) -> str:
    """Why a model's batches must be padded; empty when they need not be.

    Of a model without storage (on the device "meta") no numbers can be compared: that it asks for
    attention in every layer is enough.
    """
    decoder = models.decoder(model)
    if model.config.is_encoder_decoder:
        return "an encoder reads each prompt as a whole"
    if attn_implementation != "sdpa":
        return f"attn_implementation: {attn_implementation} is asked for"
    if not models.has_plain_cache(model):
        return "not all of the model's layers see all tokens before"
    if any(getattr(decoder.config, name, 0.0) for name in ("attention_dropout", "attn_pdrop")):
        return "the model drops attention weights out"
    if not _agrees(model):
        return f"{type(decoder).__name__} does its attention in a way of its own"
    return ""


def _agrees(model: Any) -> bool:
    """Run three short rows laid out and one by one, and compare."""
    decoder = models.decoder(model)
    device = decoder.get_input_embeddings().weight.device
    shared, rows = [1, 2, 3], [[4, 5, 6, 7], [5, 6], [7]]
    ids = shared + [token for row in rows for token in row]
    positions = [0, 1, 2, *(3 + i for row in rows for i in range(len(row)))]
    layout = lay_out([(len(shared), [len(row) for row in rows])]).to(device)
    was_training = model.training
    model.eval()
    before = _calls
    try:
        with torch.no_grad():
            with laid_out(model, layout):
                found = models.hidden_states(
                    model,
                    input_ids=torch.tensor([ids], device=device),
                    position_ids=torch.tensor([positions], device=device),
                )[0, len(shared) :]
            alone = [
                models.hidden_states(model, input_ids=torch.tensor([shared + row], device=device))[
                    0, len(shared) :
                ]
                for row in rows
            ]
    except (AssertionError, RuntimeError, ValueError, TypeError, IndexError, KeyError):
        return False
    finally:
        model.train(was_training)
    if _calls - before != decoder.config.num_hidden_layers:
        return False
    if found.is_meta:
        return True
    expected = torch.cat(alone)
    error = (found - expected).norm(dim=-1) / expected.norm(dim=-1)
    # bf16 products round differently in lines of other lengths, by 1 % of a deep model's states;
    # attending to the wrong tokens changes them by half.
    return bool(error.mean() < 0.1)
