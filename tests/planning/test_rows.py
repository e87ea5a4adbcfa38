"""Rows as the plan sees them, against the batches that training makes of them."""

from __future__ import annotations

import random

import pytest

from luthier.planning import rows as rows_of
from luthier.planning.rows import Row, Rows
from luthier.planning.shapes import EndToEnd, Padded
from luthier.training import batches
from luthier.training.batches import Item
from luthier.training.config import TrainConfig


def made(kinds: list[tuple[int, int]], *, longest: int = 40, seed: int = 0) -> list[Item]:
    """Rows of several kinds, mixed: (tokens they start with, how many rows)."""
    rng = random.Random(seed)
    items = []
    for kind, (prefix, count) in enumerate(kinds):
        head = [1000 + kind] * prefix
        for _ in range(count):
            own = [rng.randrange(5, 900) for _ in range(rng.randint(4, longest))]
            marks = [False] * (prefix + len(own) - 2) + [True] * 2
            items.append(Item(f"{kind}/{len(items)}", head + own, marks))
    rng.shuffle(items)
    return items


def seen(items: list[Item], *, share: float = 1.0) -> Rows:
    """What `look_at` would make of these rows, or of a part of them."""
    sample = random.Random(1).sample(items, round(share * len(items)))
    return Rows(
        count=len(items),
        tokens=sum(len(item.ids) for item in items),
        trained=sum(sum(item.trained) for item in items),
        longest=max(len(item.ids) for item in items),
        sample=tuple(
            Row(len(i.ids), sum(i.trained), tuple(i.ids[: i.trained.index(True) - 1]))
            for i in sample
        ),
        stats=None,
    )


def trained_batches(items: list[Item], train: TrainConfig, *, seed: int) -> list[batches.Batch]:
    """The micro-batches of an epoch, as training makes them."""
    prefixes = batches.shared_prefixes(items, train.per_device_train_batch_size)
    planned = batches.plan_epoch(items, train, seed=seed, epoch=0, prefixes=prefixes)
    return [batches.collate(plan, items, pad_id=0, prefixes=prefixes) for plan in planned]


ROWS = {
    "one prompt": [(30, 45)],
    "no shared start": [(0, 45)],
    "two tasks": [(60, 24), (35, 21)],
    "tasks and left-over rows": [(200, 9), (50, 17), (120, 1), (80, 3), (0, 6)],
}


@pytest.mark.parametrize("kinds", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("settings", [{}, {"group_by_length": True}, {"packing": True}], ids=str)
def test_no_batch_is_larger_than_the_planned_one(
    kinds: list[tuple[int, int]], settings: dict[str, bool]
) -> None:
    train = TrainConfig(per_device_train_batch_size=4, max_seq_length=256, **settings)
    items = made(kinds)
    rows = seen(items)
    prefixes = rows.prefixes(4)

    planned = rows_of.largest_batch(rows, train, prefixes)
    epochs = [trained_batches(items, train, seed=seed) for seed in range(20)]
    computed = [sum(batch.computed_tokens for batch in epoch) for epoch in epochs]
    largest = max(batch.computed_tokens for epoch in epochs for batch in epoch)

    assert isinstance(planned, EndToEnd)
    assert largest <= planned.tokens <= 1.5 * largest
    assert planned.trained >= max(len(b.targets) for epoch in epochs for b in epoch)
    exact = len(prefixes.lengths) == 1 and not train.packing
    found = rows_of.computed_tokens(rows, train, prefixes)
    assert sum(computed) / 20 == pytest.approx(found, rel=0 if exact else 0.1)


def test_a_sample_tells_of_all_rows() -> None:
    train = TrainConfig(per_device_train_batch_size=8)
    items = made([(40, 900), (90, 700)], longest=200)
    whole, part = seen(items), seen(items, share=0.25)

    exact = rows_of.largest_batch(whole, train, whole.prefixes(8))
    told = rows_of.largest_batch(part, train, part.prefixes(8))

    assert told.tokens == pytest.approx(exact.tokens, rel=0.05)
    assert rows_of.computed_tokens(part, train, part.prefixes(8)) == pytest.approx(
        rows_of.computed_tokens(whole, train, whole.prefixes(8)), rel=0.02
    )


def test_padded_lines_are_as_long_as_the_longest() -> None:
    items = made([(30, 45)])
    rows = seen(items)
    train = TrainConfig(per_device_train_batch_size=4)
    longest = max(len(item.ids) for item in items)

    assert rows_of.largest_batch(rows, train, None) == Padded(4, longest, trained=8)
    mean = rows.tokens / rows.count
    computed = rows_of.computed_tokens(rows, train, None)
    assert rows.tokens < computed < rows.count * longest
    grouped = train.model_copy(update={"group_by_length": True})
    assert rows_of.computed_tokens(rows, grouped, None) == pytest.approx(45 * mean, abs=1)
    packing = train.model_copy(update={"packing": True, "max_seq_length": 512})
    shortest = sorted(len(item.ids) for item in items)
    fitting = next(n for n in range(45) if sum(shortest[:n]) > 4 * 512)
    assert rows_of.largest_batch(rows, packing, None) == Padded(
        4, 512, trained=2 * fitting, packed=True
    )


def test_without_data_every_row_is_as_long_as_it_may_be() -> None:
    train = TrainConfig(per_device_train_batch_size=4, max_seq_length=100)
    rows = rows_of.without_data(train)

    for packing in (False, True):
        changed = train.model_copy(update={"packing": packing})
        shape = rows_of.largest_batch(rows, changed, rows.prefixes(4))
        assert shape == EndToEnd(((0, (100,) * 4),), trained=4 * 32)
        assert rows_of.largest_batch(rows, changed, None).tokens == 400


def test_no_rows_are_a_batch_of_next_to_nothing() -> None:
    rows = Rows(0, 0, 0, 0, (), None)
    train = TrainConfig()

    assert rows_of.largest_batch(rows, train, rows.prefixes(8)).tokens == 1
    assert rows_of.computed_tokens(rows, train, rows.prefixes(8)) == 0
    assert rows_of.computed_tokens(rows, train, None) == 0
