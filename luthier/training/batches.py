"""Rows -> items -> batches -> tensors.

An *item* is a rendered row. A *sequence* is one line of a batch: one item, or with packing
several that never see each other. A *batch* is what one forward pass takes.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from luthier.chat import Renderer
from luthier.errors import DataError
from luthier.example import Example
from luthier.training.config import TrainConfig
from luthier.training.smoothing import ClassSmoothing

MIN_SHARED_PREFIX = 8
"""Tokens; below this a forward pass of its own costs more than it saves."""
LENGTH_GROUP = 50
"""Batches sorted together by `group_by_length`, as in transformers' LengthGroupedSampler."""

Line = list[int]
"""Indices of the items in one line of a batch."""
BatchPlan = list[Line]


@dataclass(frozen=True)
class Item:
    """A rendered row."""

    id: str
    """The example's id, so that a message can name the row."""
    ids: list[int]
    trained: list[bool]
    soft: dict[int, tuple[list[int], list[float]]] = field(default_factory=dict)
    """Position -> (token ids, probabilities) where the target is a distribution (class smoothing);
    elsewhere it is the token itself."""


@dataclass(frozen=True)
class Batch:
    """What one forward pass takes. B lines of T tokens, N trained tokens."""

    input_ids: Tensor
    """(B, T) int64, padded on the right; without the shared prefix, if there is one."""
    prefix_ids: Tensor | None
    """(1, P) int64: the tokens all lines start with, run once; None when nothing is shared."""
    position_ids: Tensor | None
    """(B, T) int64, restarting with every packed item; None: 0..T-1."""
    attention_mask: Tensor | None
    """(B, 1, T, T) float32, 0 or -inf, block-diagonal and causal; None: causal."""
    row_lengths: Tensor
    """(B, T) int64: length of the item each token belongs to (NEFTune's L)."""
    sources: Tensor
    """(N,) int64: flat positions in (B, T) of the hidden states that predict the targets."""
    targets: Tensor
    """(N,) int64."""
    soft: list[tuple[int, list[int], list[float]]]
    """(index into targets, token ids, probabilities) where the target is a distribution."""
    items: list[Item]
    tokens: int
    """Tokens that are no padding, the shared prefix counted for each row."""

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        moved = {
            name: value.to(device) if isinstance(value, Tensor) else value
            for name, value in vars(self).items()
        }
        return Batch(**moved)


def prepare(
    examples: Sequence[Example], renderer: Renderer, *, smoothing: ClassSmoothing | None = None
) -> list[Item]:
    """Render rows into items.

    Raises:
        DataError: a row has no trained token.
    """
    items = []
    for example in examples:
        ids, trained = renderer.render(example)
        # Nothing predicts the first token.
        trained = [False, *trained[1:]]
        if not any(trained):
            raise DataError(f"{example.origin}: the row has no token to learn from.")
        start = trained.index(True)
        soft = smoothing.targets(ids[start:]) if smoothing else {}
        items.append(
            Item(example.id, ids, trained, {start + offset: t for offset, t in soft.items()})
        )
    return items


def shared_prefix(items: Sequence[Item]) -> int:
    """Number of untrained tokens that all items start with (0 when too few to be worth it)."""
    if len(items) < 2:
        return 0
    first = items[0].ids
    length = min(item.trained.index(True) for item in items)
    # At least one token stays in every suffix: it carries the hidden state that predicts.
    length = min(length, min(len(item.ids) for item in items) - 1, len(first)) - 1
    for item in items:
        while length > 0 and item.ids[:length] != first[:length]:
            length = next((i for i in range(length) if item.ids[i] != first[i]), length - 1)
    return length if length >= MIN_SHARED_PREFIX else 0


def plan_epoch(
    items: Sequence[Item], train: TrainConfig, *, seed: int, epoch: int
) -> list[BatchPlan]:
    """Share the items of one epoch out over micro-batches.

    The order depends only on (seed, epoch), so a resumed run sees the batches it would have seen.
    """
    # A string seed is hashed with SHA-512 by `random`, independent of the process.
    rng = random.Random(f"{seed}/{epoch}")
    order = list(range(len(items)))
    rng.shuffle(order)
    size = train.per_device_train_batch_size
    if train.packing:
        sequences = _pack(order, items, train.max_seq_length)
    elif train.group_by_length:
        return _length_grouped(order, items, size, rng)
    else:
        sequences = [[index] for index in order]
    return [sequences[i : i + size] for i in range(0, len(sequences), size)]


def _length_grouped(
    order: list[int], items: Sequence[Item], size: int, rng: random.Random
) -> list[BatchPlan]:
    batches: list[BatchPlan] = []
    step = size * LENGTH_GROUP
    for start in range(0, len(order), step):
        group = sorted(order[start : start + step], key=lambda i: -len(items[i].ids))
        batches += [[[i] for i in group[k : k + size]] for k in range(0, len(group), size)]
    rng.shuffle(batches)
    return batches


def _pack(order: list[int], items: Sequence[Item], limit: int) -> list[Line]:
    """Best-fit-decreasing within windows of the shuffled order, which keeps the order random."""
    window = 512
    packed: list[Line] = []
    for start in range(0, len(order), window):
        bins: list[tuple[int, Line]] = []
        for index in sorted(order[start : start + window], key=lambda i: -len(items[i].ids)):
            length = len(items[index].ids)
            fitting = [b for b in range(len(bins)) if bins[b][0] >= length]
            if fitting:
                best = min(fitting, key=lambda b: bins[b][0])
                room, sequence = bins[best]
                sequence.append(index)
                bins[best] = (room - length, sequence)
            else:
                bins.append((limit - length, [index]))
        packed += [sequence for _, sequence in bins]
    # Undo the ordering by length without losing determinism.
    random.Random(len(packed)).shuffle(packed)
    return packed


def collate(plan: BatchPlan, items: Sequence[Item], *, pad_id: int, prefix: int = 0) -> Batch:
    """Turn a batch plan into tensors.

    Args:
        plan: indices of the items, by line.
        items: all items.
        pad_id: token for the padding on the right; causal attention never looks there.
        prefix: number of leading tokens all items share; they are taken out of the lines.
    """
    lines = [[items[i] for i in sequence] for sequence in plan]
    packed = any(len(line) > 1 for line in lines)
    assert not (packed and prefix), "packed lines have several prefixes"
    width = max(sum(len(item.ids) for item in line) for line in lines) - prefix
    input_ids = torch.full((len(lines), width), pad_id, dtype=torch.int64)
    lengths = torch.ones_like(input_ids)
    positions = torch.zeros_like(input_ids)
    owners = torch.full_like(input_ids, -1)
    sources: list[int] = []
    targets: list[int] = []
    soft: list[tuple[int, list[int], list[float]]] = []
    for row, line in enumerate(lines):
        at = 0
        for number, item in enumerate(line):
            ids = item.ids[prefix:]
            input_ids[row, at : at + len(ids)] = torch.tensor(ids)
            lengths[row, at : at + len(ids)] = len(item.ids)
            positions[row, at : at + len(ids)] = torch.arange(len(ids))
            owners[row, at : at + len(ids)] = number
            for position, is_trained in enumerate(item.trained):
                if is_trained:
                    if position in item.soft:
                        soft.append((len(targets), *item.soft[position]))
                    sources.append(row * width + at + position - prefix - 1)
                    targets.append(item.ids[position])
            at += len(ids)
    flat = [item for line in lines for item in line]
    return Batch(
        input_ids=input_ids,
        prefix_ids=torch.tensor([flat[0].ids[:prefix]]) if prefix else None,
        position_ids=positions if packed else None,
        attention_mask=_block_diagonal(owners) if packed else None,
        row_lengths=lengths,
        sources=torch.tensor(sources, dtype=torch.int64),
        targets=torch.tensor(targets, dtype=torch.int64),
        soft=soft,
        items=flat,
        tokens=sum(len(item.ids) for item in flat),
    )


def _block_diagonal(owners: Tensor) -> Tensor:
    """(B, T) item numbers -> (B, 1, T, T) additive mask: same item, and not from the future."""
    width = owners.shape[1]
    same = owners[:, :, None] == owners[:, None, :]
    causal = torch.ones(width, width, dtype=torch.bool).tril()
    mask = torch.zeros(owners.shape[0], 1, width, width)
    return mask.masked_fill(~(same & causal)[:, None], torch.finfo(torch.float32).min)
