"""What the plan needs to know of the rows: how long they are, what they share, how they batch."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from luthier import schedules
from luthier.artifacts import DataStats, load_examples
from luthier.chat import Renderer
from luthier.example import Split
from luthier.planning.shapes import EndToEnd, Padded, Pairs, StepShape
from luthier.prefixes import Prefixes, find_prefixes
from luthier.run import Run
from luthier.training.config import TrainConfig

SAMPLE = 2000
"""Rows rendered for the plan, under half a millisecond each; the data stage counted all tokens."""
_GUESSED_ANSWER = 32
"""Trained tokens of a row where no data is there to tell."""
_PACKED_FULL = 0.95
"""Share of packed lines that is filled, for rows much shorter than a line (best fit)."""


@dataclass(frozen=True)
class Row:
    """A training row as the plan sees it."""

    length: int
    """Tokens."""
    trained: int
    """Of these, those that carry loss."""
    shareable: tuple[int, ...]
    """Tokens that other rows may start with too, as in `training.batches.shared_prefixes`."""


@dataclass(frozen=True)
class Rows:
    """The training rows, as far as they are known."""

    count: int
    tokens: int
    """Of all rows."""
    trained: int
    """Of all rows: tokens that carry loss."""
    longest: int
    sample: tuple[Row, ...]
    stats: DataStats | None

    @property
    def share(self) -> float:
        """Part of the rows that is in the sample; 0 where no data is there."""
        return len(self.sample) / self.count if self.count else 0.0

    @cached_property
    def trained_ranked(self) -> list[int]:
        """Trained tokens of the sample's rows, most first."""
        return sorted((row.trained for row in self.sample), reverse=True)

    def prefixes(self, batch_size: int) -> Prefixes:
        """What the sample's prompts share, found as training finds it."""
        return find_prefixes([row.shareable for row in self.sample], batch_size)


@dataclass(frozen=True)
class _Group:
    """Rows that start with the same tokens."""

    prefix: int
    lengths: tuple[int, ...]
    """Of the sample's rows, longest first."""
    count: int
    """Rows in all, told from the sample."""


# --- reading -------------------------------------------------------------------------------------


def without_data(train: TrainConfig) -> Rows:
    """Every row as long as the recipe allows: the worst case for memory."""
    longest = train.max_seq_length
    trained = longest if train.train_on == "all" else min(longest, _GUESSED_ANSWER)
    return Rows(0, 0, 0, longest, (Row(longest, trained, ()),), None)


def look_at(run: Run, renderer: Renderer) -> Rows:
    """Read the data stage's statistics and render a sample of the training rows."""
    stats = DataStats.load(run)
    examples = load_examples(run, "train")
    if not examples:
        return Rows(0, 0, 0, 0, (), stats)
    chosen = sorted(random.Random(0).sample(range(len(examples)), min(SAMPLE, len(examples))))
    sample = []
    for index in chosen:
        ids, trained = renderer.render(examples[index])
        # Nothing predicts the first token, and the last untrained one predicts: it stays in a row.
        trained = [False, *trained[1:]]
        untrained = trained.index(True) if True in trained else len(ids)
        sample.append(Row(len(ids), sum(trained), tuple(ids[: max(untrained - 1, 0)])))
    tokens = stats.splits["train"].tokens
    return Rows(len(examples), tokens.total, tokens.trained, tokens.max, tuple(sample), stats)


def columns(run: Run, split: Split) -> frozenset[str]:
    """Columns of a split's rows; empty where the data stage has not run."""
    if not run.is_done("data"):
        return frozenset()
    return frozenset(name for example in load_examples(run, split) for name in example.fields)


# --- an epoch ------------------------------------------------------------------------------------


def count_batches(rows: Rows, train: TrainConfig) -> int:
    """Micro-batches of an epoch; packed ones are estimated from the rows' total length."""
    return schedules.count_batches(_count_lines(rows, train), train)


def _count_lines(rows: Rows, train: TrainConfig) -> int:
    if not train.packing:
        return rows.count
    mean = rows.tokens / max(rows.count, 1)
    # Rows longer than half a line go one to a line.
    filled = _PACKED_FULL if mean <= train.max_seq_length / 2 else mean / train.max_seq_length
    return min(math.ceil(rows.tokens / (filled * train.max_seq_length)), rows.count)


def computed_tokens(rows: Rows, train: TrainConfig, prefixes: Prefixes | None) -> int:
    """Tokens that go through the model in an epoch.

    Args:
        rows: all of them.
        train: batch size, packing.
        prefixes: of `Rows.prefixes`, run once per batch; None: lines are padded.
    """
    if prefixes is None:
        return round(_count_lines(rows, train) * _typical_width(rows, train))
    batches = count_batches(rows, train)
    size = train.per_device_train_batch_size
    saved = 0.0
    for group in _groups(rows, prefixes):
        if train.packing:
            # Rows of all groups come mixed: how many batches have at least one of this group?
            others = 1 - group.count / rows.count
            runs = batches * (1 - others ** (rows.count / batches))
        else:
            runs = math.ceil(group.count / size)
        saved += group.prefix * max(group.count - runs, 0)
    return round(rows.tokens - saved)


def _typical_width(rows: Rows, train: TrainConfig) -> float:
    """Mean length of the longest row of a batch, which all others are padded to."""
    if train.packing:
        return float(train.max_seq_length)
    lengths = [row.length for row in rows.sample]
    if not lengths:
        return 0.0
    size = min(train.per_device_train_batch_size, max(rows.count, 1))
    if train.group_by_length:
        return sum(lengths) / len(lengths)
    rng = random.Random(0)
    widths = [max(rng.choices(lengths, k=size)) for _ in range(200)]
    return sum(widths) / len(widths)


# --- the largest micro-batch ---------------------------------------------------------------------


def largest_batch(rows: Rows, train: TrainConfig, prefixes: Prefixes | None) -> StepShape:
    """The micro-batch with the most computed tokens that can come: it sets the peak of memory.

    Args:
        rows: all of them; what a sample of them cannot tell is taken from the statistics.
        train: batch size, packing.
        prefixes: of `Rows.prefixes`; None: lines are padded.
    """
    size = train.per_device_train_batch_size
    if prefixes is None:
        return _largest_padded(rows, train)
    groups = _groups(rows, prefixes)
    if not groups:
        return EndToEnd(((0, (1,)),), trained=1)
    if train.packing:
        room = size * train.max_seq_length
        candidates, most = [_largest_packed(groups, room, rows.share)], _most_rows(rows, room)
    else:
        candidates, most = [[(g, _longest(g, size, rows.share))] for g in groups], size
        if len(groups) > 1:
            candidates.append(_largest_of_the_left(groups, size, rows.share))
    shapes = [tuple(_after_prefix(group, chosen) for group, chosen in c) for c in candidates]
    largest = max(shapes, key=lambda shape: EndToEnd(shape, 0).tokens)
    return EndToEnd(largest, _most_trained(rows, most))


def largest_pairs(rows: Rows, train: TrainConfig) -> Pairs:
    """The same for an encoder-decoder: the longest prompts with the longest answers."""
    lines = train.per_device_train_batch_size
    lines = min(lines, rows.count) if rows.count else lines
    answered = max((row.trained for row in rows.sample), default=1)
    asked = max((row.length - row.trained for row in rows.sample), default=1)
    # The longest of all rows may not be in the sample; it is the prompts that differ in length.
    asked = max(asked, rows.longest - answered, 1)
    return Pairs(lines, asked, answered, _most_trained(rows, lines))


def _groups(rows: Rows, prefixes: Prefixes) -> list[_Group]:
    members: list[list[int]] = [[] for _ in prefixes.lengths]
    for row, group in zip(rows.sample, prefixes.group_of, strict=True):
        members[group].append(row.length)
    ranked = [sorted(lengths, reverse=True) for lengths in members]
    if ranked:
        # The longest of all rows may not be in the sample.
        max(ranked)[0] = rows.longest
    return [
        _Group(prefix, tuple(lengths), round(len(lengths) / rows.share) if rows.share else 0)
        for prefix, lengths in zip(prefixes.lengths, ranked, strict=True)
    ]


def _longest(group: _Group, count: int, share: float) -> list[int]:
    """The longest rows of a group, told from a sample that is `share` of them."""
    count = min(count, group.count) if group.count else count
    last = len(group.lengths) - 1
    return [group.lengths[min(int(i * share), last)] for i in range(count)]


def _largest_of_the_left(
    groups: Sequence[_Group], size: int, share: float
) -> list[tuple[_Group, list[int]]]:
    """The batch of rows that are left when each group is shared out, which mixes groups."""
    left = []
    for group in groups:
        # Of a sample it is not known how many are left: at worst one.
        rest = group.count % size if share == 1 else 1
        if rest:
            left.append((group, _longest(group, rest, share)))
    left.sort(key=lambda one: -_computed(*one) / len(one[1]))
    chosen, room = [], size
    for group, lengths in left:
        if room:
            chosen.append((group, lengths[:room]))
            room -= len(chosen[-1][1])
    return chosen or [(groups[0], _longest(groups[0], size, share))]


def _largest_packed(
    groups: Sequence[_Group], room: int, share: float
) -> list[tuple[_Group, list[int]]]:
    """Rows that fill `room` tokens and share as little of them as can be."""
    copies = math.ceil(1 / share) if share else room
    # (part of the row that is shared with one before it, place of its group, tokens)
    ranked = [
        (group.prefix / length if number or copy else 0.0, place, length)
        for place, group in enumerate(groups)
        for number, length in enumerate(group.lengths)
        for copy in range(min(copies, room // length + 1))
    ]
    chosen: list[tuple[_Group, list[int]]] = [(group, []) for group in groups]
    for _, place, length in sorted(ranked, key=lambda one: (one[0], -one[2])):
        length = min(length, room)
        if length > groups[place].prefix:
            chosen[place][1].append(length)
            room -= length
    return [(group, lengths) for group, lengths in chosen if lengths]


def _after_prefix(group: _Group, lengths: Sequence[int]) -> tuple[int, tuple[int, ...]]:
    """As `ragged.lay_out` takes them; a row alone keeps its prefix."""
    shared = group.prefix if len(lengths) > 1 else 0
    return shared, tuple(sorted(length - shared for length in lengths))


def _computed(group: _Group, lengths: Sequence[int]) -> int:
    return EndToEnd((_after_prefix(group, lengths),), 0).tokens


def _largest_padded(rows: Rows, train: TrainConfig) -> Padded:
    lines = train.per_device_train_batch_size
    if not train.packing:
        lines = min(lines, rows.count) if rows.count else lines
        return Padded(lines, max(rows.longest, 1), _most_trained(rows, lines))
    width = train.max_seq_length
    trained = _most_trained(rows, _most_rows(rows, lines * width))
    return Padded(lines, width, trained, packed=True)


def _most_rows(rows: Rows, room: int) -> int:
    """How many rows may be in `room` tokens: the shortest."""
    shortest = sorted(row.length for row in rows.sample)
    count, copies = 0.0, 1 / rows.share if rows.share else math.inf
    for length in shortest:
        fitting = min(copies, room / max(length, 1))
        count, room = count + fitting, room - int(fitting * length)
    return math.ceil(count)


def _most_trained(rows: Rows, count: int) -> int:
    """Trained tokens of `count` rows, at most."""
    ranked = rows.trained_ranked
    if not ranked:
        return 1
    count = min(count, rows.count) if rows.count else count
    places: Iterable[int] = (min(int(i * rows.share), len(ranked) - 1) for i in range(count))
    return max(sum(ranked[place] for place in places), 1)
