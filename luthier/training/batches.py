"""Rows -> items -> batches -> tensors.

An *item* is a rendered row. A *line* of a batch plan is one item, or with packing several that
never see each other. A *batch* is what one forward pass takes: all rows end to end where the
model's attention allows (`ragged.py`), else padded lines; with an encoder, padded prompts and
padded answers (`seq2seq.py`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from luthier.chat import Renderer
from luthier.errors import DataError
from luthier.example import Example
from luthier.prefixes import Prefixes, find_prefixes
from luthier.ragged import Layout, lay_out
from luthier.seq2seq import padded, take_apart
from luthier.training.config import TrainConfig
from luthier.training.smoothing import ClassSmoothing

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
    """(B, T) int64; end to end: B is 1; else padded on the right; what an encoder reads."""
    position_ids: Tensor | None
    """(B, T) int64, counted within each row; None: 0..T-1."""
    attention_mask: Tensor | None
    """(B, 1, T, T) float32, 0 or -inf, block-diagonal and causal; None: causal. For an encoder
    (B, T) int64, 0 at padding."""
    layout: Layout | None
    """Of rows end to end; None: padded lines."""
    row_lengths: Tensor
    """(B, T) int64: length of the row each token belongs to (NEFTune's L)."""
    sources: Tensor
    """(N,) int64: flat positions in (B, T), of a decoder (B, A), of the hidden states that predict
    the targets."""
    targets: Tensor
    """(N,) int64."""
    soft: list[tuple[int, list[int], list[float]]]
    """(index into targets, token ids, probabilities) where the target is a distribution."""
    items: list[Item]
    tokens: int
    """Tokens that are no padding, a shared prefix counted for each row."""
    decoder_ids: Tensor | None = None
    """(B, A) int64: what the decoder is given beside an encoder, padded on the right."""

    @property
    def computed_tokens(self) -> int:
        """Tokens that go through the model: a shared prefix once, padding included."""
        decoded = 0 if self.decoder_ids is None else self.decoder_ids.numel()
        return self.input_ids.numel() + decoded

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        moved: dict[str, Any] = {
            name: value.to(device) if isinstance(value, (Tensor, Layout)) else value
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
        # The label is the last answer; before it, other turns or the prompt may be trained too.
        start = len(renderer.prompt(example.prompt)) if smoothing else 0
        soft = smoothing.targets(ids[start:]) if smoothing else {}
        items.append(
            Item(example.id, ids, trained, {start + offset: t for offset, t in soft.items()})
        )
    return items


def shared_prefixes(items: Sequence[Item], batch_size: int) -> Prefixes:
    """Group items by what their prompts start with.

    At least one token stays in every row: it carries the hidden state that predicts.
    """
    prompts = [item.ids[: max(item.trained.index(True) - 1, 0)] for item in items]
    return find_prefixes(prompts, batch_size)


def plan_epoch(
    items: Sequence[Item],
    train: TrainConfig,
    *,
    seed: int,
    epoch: int,
    prefixes: Prefixes | None = None,
) -> list[BatchPlan]:
    """Share the items of one epoch out over micro-batches.

    The order depends only on (seed, epoch), so a resumed run sees the batches it would have seen.
    Items that share a long prompt come together (`prefixes`), where that saves enough.
    """
    # A string seed is hashed with SHA-512 by `random`, independent of the process.
    rng = random.Random(f"{seed}/{epoch}")
    order = list(range(len(items)))
    rng.shuffle(order)
    size = train.per_device_train_batch_size
    if train.packing:
        # The same lines in every epoch, in another order: no row is left over, and all epochs have
        # as many steps.
        lines = _pack(list(range(len(items))), items, train.max_seq_length, seed)
        rng.shuffle(lines)
        return [lines[i : i + size] for i in range(0, len(lines), size)]
    groups = _in_groups(order, prefixes)
    chunks: list[list[int]] = []
    left: list[int] = []
    for group in groups:
        ordered = _by_length(group, items, size) if train.group_by_length else group
        full = len(ordered) - len(ordered) % size if len(groups) > 1 else len(ordered)
        chunks += [ordered[i : i + size] for i in range(0, full, size)]
        left += ordered[full:]
    chunks += [left[i : i + size] for i in range(0, len(left), size)]
    if train.group_by_length or len(groups) > 1:
        rng.shuffle(chunks)
    return [[[index] for index in chunk] for chunk in chunks]


def _in_groups(order: list[int], prefixes: Prefixes | None) -> list[list[int]]:
    """Items of the same prefix together, in the given order otherwise."""
    if prefixes is None or len(prefixes.lengths) < 2:
        return [order]
    groups: dict[int, list[int]] = {}
    for index in order:
        groups.setdefault(prefixes.group_of[index], []).append(index)
    return list(groups.values())


def _by_length(order: list[int], items: Sequence[Item], size: int) -> list[int]:
    step = size * LENGTH_GROUP
    return [
        index
        for start in range(0, len(order), step)
        for index in sorted(order[start : start + step], key=lambda i: -len(items[i].ids))
    ]


def _pack(order: list[int], items: Sequence[Item], limit: int, seed: int) -> list[Line]:
    """Best-fit-decreasing within windows of a shuffled order, which keeps lines random."""
    window = 512
    random.Random(seed).shuffle(order)
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
    return packed


def collate(
    plan: BatchPlan,
    items: Sequence[Item],
    *,
    pad_id: int,
    prefixes: Prefixes | None = None,
    start_id: int | None = None,
) -> Batch:
    """Turn a batch plan into tensors.

    Args:
        plan: indices of the items, by line.
        items: all items.
        pad_id: token for the padding on the right; causal attention never looks there.
        prefixes: what items share; with it, rows are laid end to end (`ragged.py`); without,
            lines are padded.
        start_id: what a decoder beside an encoder starts with; None: there is no encoder.
    """
    if start_id is not None:
        return _for_encoder([items[i] for line in plan for i in line], pad_id, start_id)
    if prefixes is not None:
        return _end_to_end([i for line in plan for i in line], items, prefixes)
    return _padded(plan, items, pad_id)


def _end_to_end(indices: list[int], items: Sequence[Item], prefixes: Prefixes) -> Batch:
    """One line of all rows' tokens, grouped by prefix."""
    groups: dict[int, list[int]] = {}
    for index in indices:
        groups.setdefault(prefixes.group_of[index], []).append(index)
    line = _Line()
    shapes = []
    for group, members in groups.items():
        members.sort(key=lambda i: len(items[i].ids))
        shared = prefixes.lengths[group] if len(members) > 1 else 0
        if shared:
            # The strength of noise depends on a row's length; the prefix belongs to all rows.
            mean = round(sum(len(items[i].ids) for i in members) / len(members))
            line.add(items[members[0]].ids[:shared], 0, mean)
        for index in members:
            line.add_item(items[index], shared)
        shapes.append((shared, [len(items[i].ids) - shared for i in members]))
    rows = [items[i] for members in groups.values() for i in members]
    return Batch(
        input_ids=torch.tensor([line.ids]),
        position_ids=torch.tensor([line.positions]),
        attention_mask=None,
        layout=lay_out(shapes),
        row_lengths=torch.tensor([line.lengths]),
        sources=torch.tensor(line.sources, dtype=torch.int64),
        targets=torch.tensor(line.targets, dtype=torch.int64),
        soft=line.soft,
        items=rows,
        tokens=sum(len(item.ids) for item in rows),
    )


def _padded(plan: BatchPlan, items: Sequence[Item], pad_id: int) -> Batch:
    lines = [_Line() for _ in plan]
    for line, members in zip(lines, plan, strict=True):
        for index in members:
            line.add_item(items[index], 0)
    width = max(len(line.ids) for line in lines)
    packed = any(len(members) > 1 for members in plan)
    rows = [items[i] for members in plan for i in members]
    owners = [
        [number for number, i in enumerate(members) for _ in items[i].ids] for members in plan
    ]

    def filled(values: Sequence[Sequence[int]], padding: int) -> Tensor:
        return torch.tensor([[*row, *[padding] * (width - len(row))] for row in values])

    sources: list[int] = []
    targets: list[int] = []
    soft: list[tuple[int, list[int], list[float]]] = []
    for number, line in enumerate(lines):
        soft += [(len(targets) + i, ids, p) for i, ids, p in line.soft]
        sources += [number * width + at for at in line.sources]
        targets += line.targets
    return Batch(
        input_ids=filled([line.ids for line in lines], pad_id),
        position_ids=filled([line.positions for line in lines], 0) if packed else None,
        attention_mask=_block_diagonal(filled(owners, -1)) if packed else None,
        layout=None,
        row_lengths=filled([line.lengths for line in lines], 1),
        sources=torch.tensor(sources, dtype=torch.int64),
        targets=torch.tensor(targets, dtype=torch.int64),
        soft=soft,
        items=rows,
        tokens=sum(len(item.ids) for item in rows),
    )


def _for_encoder(rows: list[Item], pad_id: int, start_id: int) -> Batch:
    """Prompts for the encoder, and for the decoder answers shifted by the start token."""
    pairs = [take_apart(item.ids, item.trained) for item in rows]
    input_ids, mask = padded([pair.asked for pair in pairs], pad_id)
    decoder_ids, _ = padded([[start_id, *pair.answer[:-1]] for pair in pairs], pad_id)
    width = decoder_ids.shape[1]
    targets: list[int] = []
    sources: list[int] = []
    soft: list[tuple[int, list[int], list[float]]] = []
    for number, (item, pair) in enumerate(zip(rows, pairs, strict=True)):
        first = len(targets) - len(pair.asked)
        soft += [(first + at, *target) for at, target in item.soft.items()]
        sources += range(number * width, number * width + len(pair.answer))
        targets += pair.answer
    return Batch(
        input_ids=input_ids,
        position_ids=None,
        attention_mask=mask,
        layout=None,
        row_lengths=mask.sum(dim=1, keepdim=True).expand_as(mask),
        sources=torch.tensor(sources, dtype=torch.int64),
        targets=torch.tensor(targets, dtype=torch.int64),
        soft=soft,
        items=rows,
        tokens=sum(len(item.ids) for item in rows),
        decoder_ids=decoder_ids,
    )


class _Line:
    """Tokens of a line, as they are put together."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.lengths: list[int] = []
        self.sources: list[int] = []
        self.targets: list[int] = []
        self.soft: list[tuple[int, list[int], list[float]]] = []

    def add(self, ids: list[int], position: int, length: int) -> None:
        self.ids += ids
        self.positions += range(position, position + len(ids))
        self.lengths += [length] * len(ids)

    def add_item(self, item: Item, skipped: int) -> None:
        """Add a row but for its first tokens, which are in the line already."""
        start = len(self.ids) - skipped
        self.add(item.ids[skipped:], skipped, len(item.ids))
        for position, is_trained in enumerate(item.trained):
            if is_trained:
                if position in item.soft:
                    self.soft.append((len(self.targets), *item.soft[position]))
                self.sources.append(start + position - 1)
                self.targets.append(item.ids[position])


def _block_diagonal(owners: Tensor) -> Tensor:
    """(B, T) item numbers -> (B, 1, T, T) additive mask: same item, and not from the future."""
    width = owners.shape[1]
    same = owners[:, :, None] == owners[:, None, :]
    causal = torch.ones(width, width, dtype=torch.bool).tril()
    mask = torch.zeros(owners.shape[0], 1, width, width)
    return mask.masked_fill(~(same & causal)[:, None], torch.finfo(torch.float32).min)
