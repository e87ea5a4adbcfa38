"""Items, epochs, packing and tensors."""

import math
import random

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.training.batches import Item, collate, plan_epoch, shared_prefixes
from luthier.training.config import TrainConfig


def item(length: int, *, answer: int = 2, name: str = "row") -> Item:
    ids = [random.Random(f"{name}{length}").randrange(5, 400) for _ in range(length)]
    return Item(name, ids, [False] * (length - answer) + [True] * answer)


lengths = st.lists(st.integers(3, 40), min_size=1, max_size=80)


@given(lengths, st.booleans(), st.booleans(), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_every_row_is_seen_once_an_epoch(
    sizes: list[int], packing: bool, grouped: bool, batch: int
) -> None:
    items = [item(size, name=str(i)) for i, size in enumerate(sizes)]
    train = TrainConfig(
        per_device_train_batch_size=batch, packing=packing, group_by_length=grouped,
        max_seq_length=40,
    )  # fmt: skip

    batches = plan_epoch(items, train, seed=1, epoch=0)

    seen = [index for lines in batches for line in lines for index in line]
    assert sorted(seen) == list(range(len(items)))
    assert all(1 <= len(lines) <= batch for lines in batches)
    for lines in batches:
        for line in lines:
            assert sum(sizes[i] for i in line) <= 40 if packing else len(line) == 1


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    items = [item(5 + i % 7, name=str(i)) for i in range(50)]
    train = TrainConfig(per_device_train_batch_size=4, group_by_length=True)

    def order(seed: int, epoch: int) -> object:
        return plan_epoch(items, train, seed=seed, epoch=epoch)

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


def test_grouping_by_length_saves_padding() -> None:
    items = [item(3 + i * 37 % 200, name=str(i)) for i in range(400)]

    def padded(grouped: bool) -> int:
        train = TrainConfig(per_device_train_batch_size=8, group_by_length=grouped)
        batches = plan_epoch(items, train, seed=0, epoch=0)
        return sum(len(b) * max(len(items[line[0]].ids) for line in b) for b in batches)

    assert padded(True) < 0.75 * padded(False)


def test_packing_fills_the_lines() -> None:
    items = [item(3 + i * 37 % 60, name=str(i)) for i in range(300)]
    train = TrainConfig(per_device_train_batch_size=4, packing=True, max_seq_length=128)

    lines = [line for batch in plan_epoch(items, train, seed=0, epoch=0) for line in batch]

    used = sum(len(i.ids) for i in items)
    assert used / (len(lines) * 128) > 0.9


def test_every_epoch_packs_the_same_lines_in_another_order() -> None:
    items = [item(3 + i * 37 % 60, name=str(i)) for i in range(900)]
    train = TrainConfig(per_device_train_batch_size=1, packing=True, max_seq_length=128)

    def lines(seed: int, epoch: int) -> list[list[int]]:
        return [plan[0] for plan in plan_epoch(items, train, seed=seed, epoch=epoch)]

    first, second, other = lines(0, 0), lines(0, 1), lines(1, 0)
    assert first != second and sorted(first) == sorted(second) != sorted(other)
    assert sorted(i for line in second for i in line) == list(range(900))


def sharing(*heads: list[int], rows: int = 3) -> list[Item]:
    """Rows of 2 trained tokens after one of their own, after each head."""
    return [
        Item(f"{h}{i}", [*head, 50 + i, 7, 8], [False] * (len(head) + 1) + [True, True])
        for h, head in enumerate(heads)
        for i in range(rows)
    ]


def test_shared_prefix_ends_before_the_first_trained_token() -> None:
    rows = sharing(list(range(100, 120)))

    assert shared_prefixes(rows, 3).lengths == [20]


def test_short_or_trained_prefixes_are_not_shared() -> None:
    short = [Item(str(i), [1, 2, 3, 10 + i, 7], [False] * 4 + [True]) for i in range(3)]
    trained = [Item(str(i), [*range(100, 120), 7], [False, *[True] * 20]) for i in range(3)]

    assert shared_prefixes(short, 3).lengths == [0]
    assert shared_prefixes(trained, 3).lengths == [0]


def test_equal_rows_keep_a_token_of_their_own_that_predicts() -> None:
    rows = [Item(str(i), [*range(100, 120), 7], [False] * 20 + [True]) for i in range(3)]
    prefixes = shared_prefixes(rows, 3)

    batch = collate([[0], [1]], rows, pad_id=0, prefixes=prefixes)

    assert prefixes.lengths == [19]
    assert batch.input_ids.shape == (1, 19 + 2 * 2)


def test_rows_of_one_prompt_come_together() -> None:
    heads = [[1000 * h + i for i in range(100)] for h in range(5)]
    rows = sharing(*heads, rows=10)
    train = TrainConfig(per_device_train_batch_size=4)
    prefixes = shared_prefixes(rows, 4)

    batches = plan_epoch(rows, train, seed=0, epoch=0, prefixes=prefixes)

    assert prefixes.lengths == [100] * 5
    assert sorted(i for b in batches for line in b for i in line) == list(range(50))
    assert len(batches) == math.ceil(50 / 4)
    kinds = [{prefixes.group_of[i] for line in b for i in line} for b in batches]
    assert sum(len(k) == 1 for k in kinds) >= 10
    again = plan_epoch(rows, train, seed=0, epoch=1, prefixes=prefixes)
    assert again != batches, "another epoch, another order"
    batch = collate(batches[0], rows, pad_id=0, prefixes=prefixes)
    assert batch.tokens == 4 * 103
    assert batch.computed_tokens == 100 + 4 * 3


def test_lengths_of_rows_behind_a_prefix_are_their_own_and_its_the_mean() -> None:
    """What the strength of NEFTune's noise depends on. The last token before an answer predicts
    its first one and is each row's own."""
    head = list(range(100, 120))
    rows = [Item(str(i), head + [i] * n, [False] * 20 + [True] * n) for i, n in enumerate((2, 6))]

    batch = collate([[0], [1]], rows, pad_id=0, prefixes=shared_prefixes(rows, 2))

    assert batch.row_lengths.tolist() == [[24] * 19 + [22] * 3 + [26] * 7]


def test_packed_rows_never_see_each_other() -> None:
    rows = [item(4, name="a"), item(6, name="b"), item(3, name="c")]

    batch = collate([[0, 1], [2]], rows, pad_id=0)

    assert batch.attention_mask is not None and batch.position_ids is not None
    visible = batch.attention_mask[0, 0] == 0
    assert torch.equal(visible[:4, :4], torch.ones(4, 4, dtype=torch.bool).tril())
    assert torch.equal(visible[4:, 4:], torch.ones(6, 6, dtype=torch.bool).tril())
    assert not visible[4:, :4].any() and not visible[:4, 4:].any()
    assert batch.position_ids[0].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 4, 5]
    assert batch.row_lengths[0].tolist() == [4] * 4 + [6] * 6


@given(st.lists(st.integers(3, 30), min_size=1, max_size=6))
@settings(max_examples=30, deadline=None)
def test_each_target_is_predicted_by_the_token_before_it(sizes: list[int]) -> None:
    rows = [item(size, name=str(i)) for i, size in enumerate(sizes)]

    batch = collate([[i] for i in range(len(rows))], rows, pad_id=0)

    flat = batch.input_ids.flatten()
    assert [int(flat[s + 1]) for s in batch.sources] == batch.targets.tolist()
    assert batch.tokens == sum(sizes)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(4, 30)), min_size=1, max_size=9))
@settings(max_examples=60, deadline=None)
def test_end_to_end_holds_what_padded_lines_hold(kinds: list[tuple[int, int]]) -> None:
    heads = [list(range(100, 112)), list(range(100, 130)), []]
    rows = []
    for number, (kind, length) in enumerate(kinds):
        tail = item(length, name=str(number))
        trained = [False] * len(heads[kind]) + tail.trained
        rows.append(Item(str(number), heads[kind] + tail.ids, trained))
    plan = [[i] for i in range(len(rows))]

    flat = collate(plan, rows, pad_id=0, prefixes=shared_prefixes(rows, len(rows)))
    padded = collate(plan, rows, pad_id=0)

    assert sorted(flat.targets.tolist()) == sorted(padded.targets.tolist())
    assert flat.tokens == padded.tokens >= flat.computed_tokens
    assert flat.position_ids is not None and flat.layout is not None
    ids = flat.input_ids[0].tolist()
    seen = []
    at = 0
    for group in flat.layout.groups:
        prefix = ids[group.prefix.start : group.prefix.stop] if group.prefix else []
        at += len(prefix)
        for block in group.blocks:
            assert block.start == at
            numbers = torch.arange(block.stop - block.start)[:, None, None]
            whole = torch.zeros(flat.input_ids.numel(), 1, 1, dtype=torch.int64)
            whole[block.start : block.stop] = numbers
            assert torch.equal(block.unpad(block.pad(whole)), numbers)
            real = torch.ones_like(whole)
            for row in block.pad_with_zeros(real)[:, 0, :, 0]:
                length = int(row.sum())
                seen.append(prefix + ids[at : at + length])
                expected = list(range(len(prefix), len(prefix) + length))
                assert flat.position_ids[0, at : at + length].tolist() == expected
                at += length
    assert at == len(ids)
    assert sorted(seen) == sorted(row.ids for row in rows)
