"""Time estimates: the arithmetic, and that a real step is in their reach."""

from __future__ import annotations

from luthier.planning.throughput import (
    CALLS,
    OPTIMIZER_PASSES,
    PASSES,
    Speed,
    batch_operations,
    batch_seconds,
    measure,
    optimizer_seconds,
)
from luthier.training.config import TrainConfig

MODEL = {"body": 1000, "vocabulary": 10, "hidden": 4}


def operations(
    tokens: float, trained: float = 0, trainable: int = 100, **settings: object
) -> float:
    return batch_operations(
        TrainConfig(**settings), tokens=tokens, trained=trained, trainable=trainable, **MODEL
    )


def test_frozen_weights_need_no_gradient_of_their_own() -> None:
    head = 3 * 2 * 10 * 4

    assert operations(16, 3) == 16 * (4 * 1000 + 6 * 100) + 2 * head
    assert operations(16, 3, 1040, lora=None) == 16 * 6 * 1000 + 3 * head


def test_checkpointing_runs_forward_twice() -> None:
    assert operations(16, gradient_checkpointing=True) == 16 * (6 * 1000 + 8 * 100)


def test_every_kind_of_work_takes_time() -> None:
    speed = Speed(products=1e9, passes=1e8, call=1e-3)

    assert batch_seconds(2e9, 0, 0, speed) == 2
    assert batch_seconds(0, 1e8, 0, speed) == PASSES
    assert batch_seconds(0, 0, 1000, speed) == CALLS
    assert batch_seconds(2e9, 1e8, 1000, speed) == 2 + PASSES + CALLS
    assert optimizer_seconds(25_000_000, speed) == OPTIMIZER_PASSES


def test_this_machine_is_measured() -> None:
    speed = measure(64, 256, precision="float32", device="cpu")

    # From a slow laptop to a fast server.
    assert 1e8 < speed.products < 1e14
    assert 1e7 < speed.passes < 1e13
    assert 1e-8 < speed.call < 1e-3
