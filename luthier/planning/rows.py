"""What the plan needs to know of the rows: how long they are, and what they share."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from luthier import schedules
from luthier.artifacts import DataStats, load_examples
from luthier.chat import Renderer
from luthier.planning.shapes import StepShape
from luthier.run import Run
from luthier.training.config import TrainConfig

SAMPLE = 512
"""Rows rendered for the plan; lengths of all rows come from the data stage."""
MIN_SHARED_PREFIX = 8
LOGIT_CHUNK = 1024
"""As in training/batches.py and training/loss.py."""
_GUESSED_ANSWER = 32
"""Trained tokens of a row where no data is there to tell."""
_PACKED_FULL = 0.95
"""Share of packed lines that is filled, for rows much shorter than a line (best fit)."""


@dataclass(frozen=True)
class Rows:
    """The training rows, as far as they are known."""

    count: int
    tokens: int
    """Of all rows."""
    longest: int
    lengths: tuple[int, ...]
    """Of a sample."""
    trained: int
    """Most trained tokens in a row of the sample."""
    prefix: int
    """Tokens all rows of the sample start with, none of them trained."""
    stats: DataStats | None


def without_data(train: TrainConfig) -> Rows:
    """Every row as long as the recipe allows: the worst case for memory."""
    longest = train.max_seq_length
    trained = longest if train.train_on == "all" else min(longest, _GUESSED_ANSWER)
    return Rows(0, 0, longest, (longest,), trained, 0, None)


def look_at(run: Run, renderer: Renderer) -> Rows:
    """Read the data stage's statistics and render a sample of the training rows."""
    stats = DataStats.load(run)
    examples = load_examples(run, "train")
    step = max(1, math.ceil(len(examples) / SAMPLE))
    rendered = [renderer.render(example) for example in examples[::step]]
    if not examples:
        return Rows(0, 0, 0, (), 0, 0, stats)
    tokens = stats.splits["train"].tokens
    return Rows(
        count=len(examples),
        tokens=tokens.total,
        longest=tokens.max,
        lengths=tuple(len(r.input_ids) for r in rendered),
        # Nothing predicts the first token.
        trained=max(sum(r.trained[1:]) for r in rendered),
        prefix=_shared_prefix([(r.input_ids, r.trained) for r in rendered]),
        stats=stats,
    )


def count_batches(rows: Rows, train: TrainConfig) -> int:
    """Micro-batches of an epoch; packed ones are estimated from the rows' total length."""
    if not train.packing:
        return schedules.count_batches(rows.count, train)
    mean = rows.tokens / max(rows.count, 1)
    # Rows longer than half a line go one to a line.
    filled = _PACKED_FULL if mean <= train.max_seq_length / 2 else mean / train.max_seq_length
    lines = math.ceil(rows.tokens / (filled * train.max_seq_length))
    return schedules.count_batches(min(lines, rows.count), train)


def largest_batch(rows: Rows, train: TrainConfig, prefix: int) -> StepShape:
    """The micro-batch of the longest rows: it sets the peak of memory."""
    size = train.per_device_train_batch_size
    if rows.count and not train.packing:
        size = min(size, rows.count)
    length = train.max_seq_length if train.packing else rows.longest
    per_line = rows.trained
    if train.packing:
        shortest = max(min(rows.lengths, default=1), 1)
        per_line = min(length, rows.trained * max(length // shortest, 1))
    return StepShape(
        rows=size,
        length=max(length - prefix, 1),
        trained=max(1, min(LOGIT_CHUNK, size * per_line)),
        prefix=prefix,
        packed=train.packing,
    )


def typical_width(rows: Rows, train: TrainConfig) -> float:
    """Mean length of the longest row of a batch, which all others are padded to."""
    if train.packing:
        return float(train.max_seq_length)
    if not rows.lengths:
        return 0.0
    size = min(train.per_device_train_batch_size, max(rows.count, 1))
    if train.group_by_length:
        return sum(rows.lengths) / len(rows.lengths)
    rng = random.Random(0)
    widths = [max(rng.choices(rows.lengths, k=size)) for _ in range(200)]
    return sum(widths) / len(widths)


def _shared_prefix(rendered: Sequence[tuple[list[int], list[bool]]]) -> int:
    """Untrained tokens that all rows start with; 0 where too few to be run apart."""
    if len(rendered) < 2:
        return 0
    first = rendered[0][0]
    # At least one untrained token stays in every row: it predicts the first trained one.
    length = min(trained.index(True) if True in trained else len(ids) for ids, trained in rendered)
    length = max(min(length - 1, len(first)), 0)
    for ids, _ in rendered:
        length = next((i for i in range(length) if ids[i : i + 1] != [first[i]]), length)
    return length if length >= MIN_SHARED_PREFIX else 0
