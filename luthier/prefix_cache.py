"""Keys and values of a prefix that many rows stand behind: computed once, and held once.

Transformers' own cache would repeat a prefix for every row, and where several heads share their
keys, for every head: for short rows behind long prefixes, copying then costs more than the model.
Here the queries of all rows go over the prefix in one product, and the softmax is taken over what
they find there and among their own tokens together. The numbers are those of ordinary attention.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.cache_utils import DynamicCache, DynamicLayer

from luthier import model as models

SHORTEST_PREFIX = 8
"""Tokens below which a shared prefix is not worth a pass of its own."""
WORTH_A_PREFIX = 256
"""Tokens that a further shared prefix must save, over its own length, to be run by itself."""
SCORES_BYTES = 2**27
"""Most attention scores held at once; rows are taken in turns rather than exceed it."""
NAME = "luthier_prefix"
"""Of the attention function, as transformers knows it."""


def can_share(model: Any) -> bool:
    """Whether the model takes 4-D masks and positions and keeps a plain cache in all layers."""
    causal = model.get_base_model() if hasattr(model, "peft_config") else model
    arguments = set(inspect.signature(causal.forward).parameters)
    return (
        model.config._attn_implementation in ("sdpa", "eager")
        and not getattr(model.config, "alibi", False)
        and {"attention_mask", "position_ids", "past_key_values"} <= arguments
        and models.has_plain_cache(model)
    )


def families(inputs: Sequence[Sequence[int]], keep: Sequence[int]) -> list[tuple[int, list[int]]]:
    """Group rows by the prefixes they share.

    All rows make one family unless a part of them (those of one template, say) shares so much
    more that a prefix of its own saves computation.

    Args:
        inputs: token ids of each row.
        keep: how many of a row's last tokens must stay outside the prefix.

    Returns:
        [(tokens shared, rows)].
    """
    if not inputs:
        return []
    order = sorted(range(len(inputs)), key=lambda row: list(inputs[row]))
    common = [_common(inputs[a], inputs[b]) for a, b in pairwise(order)]
    limit = [len(inputs[row]) - keep[row] for row in order]

    def shared(lo: int, hi: int) -> int:
        return max(0, min([*common[lo : hi - 1], *limit[lo:hi]]))

    found: list[tuple[int, list[int]]] = []
    pending = [(0, len(order))]
    while pending:
        lo, hi = pending.pop()
        here = shared(lo, hi)
        cuts = [lo, *(i + 1 for i in range(lo, hi - 1) if common[i] <= here), hi]
        rest: list[int] = []
        for start, end in pairwise(cuts):
            further = shared(start, end)
            saved = (end - start - 1) * (further - here)
            if len(cuts) > 2 and saved > further + WORTH_A_PREFIX:
                pending.append((start, end))
            else:
                rest += order[start:end]
        if rest:
            worth = here >= SHORTEST_PREFIX and len(rest) > 1
            found.append((here if worth else 0, rest))
    return found


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    size = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        size += 1
    return size


class Prefix:
    """Tokens that have been run.

    Args:
        model: a causal language model in eval mode that `can_share`.
        ids: the tokens.
    """

    def __init__(self, model: Any, ids: Sequence[int]) -> None:
        self.ids = list(ids)
        self._layers = DynamicCache(config=model.config)
        self._folds = True
        with torch.inference_mode():
            models.hidden_states(
                model,
                input_ids=torch.tensor([self.ids], device=model.device),
                past_key_values=self._layers,
            )

    def copies(self, rows: int) -> DynamicCache:
        """An ordinary cache that holds the prefix for each of some rows, to be added to."""
        return self._cache(lambda keys, values: _Grown(keys, values, rows))

    def hidden_states(self, model: Any, ids: Tensor, sees: Tensor, positions: Tensor) -> Tensor:
        """Run rows behind the prefix; all their tokens see all of it.

        Args:
            model: the model that the prefix was run with.
            ids: (rows, width) int64.
            sees: (rows, width, width) bool: which tokens of its row a token attends to; at least
                one.
            positions: (rows, width) int64, counted from the start of the prefix.

        Returns:
            (rows, width, hidden).
        """
        inputs = {"input_ids": ids, "position_ids": positions}
        if self._folds:
            try:
                return self._folded(model, sees, inputs)
            except _Elsewhere:
                self._folds = False
        rows, width = ids.shape
        before = sees.new_ones(rows, width, len(self.ids))
        mask = attention_mask(model, torch.cat([before, sees], dim=2))
        return models.hidden_states(
            model, attention_mask=mask, past_key_values=self.copies(rows), **inputs
        )

    def _folded(self, model: Any, sees: Tensor, inputs: dict[str, Tensor]) -> Tensor:
        config = models.decoder(model).config
        usual = config._attn_implementation
        config._attn_implementation = NAME
        try:
            return models.hidden_states(
                model,
                attention_mask=sees[:, None],
                past_key_values=self._cache(_Apart),
                **inputs,
            )
        finally:
            config._attn_implementation = usual
            _waiting.clear()

    def _cache(self, layer: Any) -> DynamicCache:
        cache = DynamicCache()
        cache.layers = [layer(known.keys, known.values) for known in self._layers.layers]
        return cache


def attention_mask(model: Any, sees: Tensor) -> Tensor:
    """A mask as the model's attention takes it: (rows, 1, queries, keys).

    Args:
        model: a causal language model.
        sees: (rows, queries, keys) bool.
    """
    mask = sees[:, None]
    if model.config._attn_implementation == "sdpa":
        return mask
    none = torch.zeros(mask.shape, dtype=model.dtype, device=mask.device)
    return none.masked_fill_(~mask, torch.finfo(model.dtype).min)


# --- the cache's layers ------------------------------------------------------------------------


class _Grown(DynamicLayer):
    """A layer that begins with a prefix, the same for every row."""

    def __init__(self, keys: Tensor, values: Tensor, rows: int) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys = keys.expand(rows, -1, -1, -1)
        self.values = values.expand(rows, -1, -1, -1)


class _Apart(DynamicLayer):
    """A layer that keeps the prefix to itself until the attention function asks for it."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values = keys, values

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Return the new states alone."""
        if _waiting:
            raise _Elsewhere
        _waiting.append(self)
        return key_states, value_states


class _Elsewhere(Exception):
    """The model's attention is computed elsewhere, or is of another kind."""


_waiting: list[_Apart] = []
"""The layer whose attention is to be computed next."""


# --- attention ---------------------------------------------------------------------------------


def _attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """What transformers calls: (rows, heads, width, dim) -> (rows, width, heads, dim)."""
    unknown = ("softcap", "s_aux", "sliding_window", "position_bias")
    if not _waiting or any(others.get(name) is not None for name in unknown):
        raise _Elsewhere
    layer = _waiting.pop()
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    rows, heads, width, _ = query.shape
    turn = max(1, SCORES_BYTES // (4 * heads * width * layer.keys.shape[2]))
    parts = [
        _attend(
            query[at : at + turn] * scale, key[at : at + turn], value[at : at + turn],
            ~attention_mask[at : at + turn, 0], layer.keys[0], layer.values[0],
        )
        for at in range(0, rows, turn)
    ]  # fmt: skip
    return torch.cat(parts) if len(parts) > 1 else parts[0], None


AttentionInterface.register(NAME, _attention)


def _attend(
    query: Tensor, key: Tensor, value: Tensor, hidden: Tensor, keys: Tensor, values: Tensor
) -> Tensor:
    """Attention to a prefix and among a row's own tokens, under one softmax.

    Args:
        query: (rows, heads, width, dim), scaled.
        key: (rows, groups, width, dim); each group serves heads / groups heads.
        value: (rows, groups, width, dim of values).
        hidden: (rows, width, width) bool: own tokens that are not seen.
        keys: (groups, prefix, dim).
        values: (groups, prefix, dim of values).

    Returns:
        (rows, width, heads, dim of values).
    """
    rows, heads, width, dim = query.shape
    groups, length = keys.shape[:2]
    # The queries of the heads that share keys stand below each other: a group has
    # queries = heads / groups * width of them.
    query = query.reshape(rows, groups, -1, dim)
    queries = query.shape[2]
    line = query.transpose(0, 1).reshape(groups, rows * queries, dim)
    far = (line @ keys.mT).float().view(groups, rows, queries, length)
    near = (query @ key.mT).float()
    near.masked_fill_(hidden.repeat(1, heads // groups, 1)[:, None], float("-inf"))
    top = torch.maximum(far.amax(-1).transpose(0, 1), near.amax(-1))
    far.sub_(top.transpose(0, 1)[..., None]).exp_()
    near.sub_(top[..., None]).exp_()
    total = far.sum(-1).transpose(0, 1) + near.sum(-1)
    found = far.to(values.dtype).view(groups, -1, length) @ values
    found = found.view(groups, rows, queries, -1).transpose(0, 1) + near.to(value.dtype) @ value
    found = found / total[..., None].to(found.dtype)
    return found.reshape(rows, heads, width, -1).transpose(1, 2).contiguous()
