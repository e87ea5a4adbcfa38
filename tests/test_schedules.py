"""Schedules: each curve against its formula, and the arithmetic of steps."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from luthier import schedules
from luthier.errors import RecipeError
from luthier.training.config import TrainConfig

PEAK, STEPS, WARMUP = 2e-4, 100, 10


def config(name: str, **settings: object) -> TrainConfig:
    return TrainConfig(lr_scheduler_type=name, learning_rate=PEAK, warmup_steps=WARMUP, **settings)


def rest(t: int) -> float:
    """Share of the run after warmup that is over."""
    return (t - WARMUP) / (STEPS - WARMUP)


@pytest.mark.parametrize(
    ("name", "kwargs", "formula"),
    [
        ("constant_with_warmup", {}, lambda t: 1.0),
        ("linear", {}, lambda t: 1 - rest(t)),
        ("cosine", {}, lambda t: 0.5 * (1 + math.cos(math.pi * rest(t)))),
        ("cosine", {"num_cycles": 1.5}, lambda t: 0.5 * (1 + math.cos(3 * math.pi * rest(t)))),
        (
            "cosine_with_restarts",
            {"num_cycles": 3},
            lambda t: 0.5 * (1 + math.cos(math.pi * (3 * rest(t) % 1))),
        ),
        (
            "polynomial",
            {"power": 2.0, "lr_end": 1e-5},
            lambda t: ((PEAK - 1e-5) * (1 - rest(t)) ** 2 + 1e-5) / PEAK,
        ),
        ("inverse_sqrt", {}, lambda t: math.sqrt(WARMUP / t)),
        ("inverse_sqrt", {"timescale": 50}, lambda t: math.sqrt(50 / (t + 50 - WARMUP))),
        (
            "warmup_stable_decay",
            {},
            lambda t: 1.0 if t < 80 else 0.5 * (1 + math.cos(math.pi * (t - 80) / 20)),
        ),
        (
            "warmup_stable_decay",
            {"num_decay_steps": 40, "decay_type": "linear"},
            lambda t: 1.0 if t < 60 else 1 - (t - 60) / 40,
        ),
        (
            "warmup_stable_decay",
            {"num_stable_steps": 20, "decay_type": "1-sqrt"},
            lambda t: 1.0 if t < 30 else 1 - math.sqrt((t - 30) / 70),
        ),
    ],
)
def test_curve_after_warmup(
    name: str, kwargs: dict[str, object], formula: Callable[[int], float]
) -> None:
    rates = schedules.learning_rates(config(name, lr_scheduler_kwargs=kwargs), STEPS)

    assert rates[:WARMUP] == pytest.approx([PEAK * t / WARMUP for t in range(WARMUP)])
    assert rates[WARMUP:] == pytest.approx([PEAK * formula(t) for t in range(WARMUP, STEPS)])


def test_constant_starts_at_the_top() -> None:
    assert schedules.learning_rates(config("constant"), STEPS) == [PEAK] * STEPS


def test_hard_restarts_come_back_to_the_top() -> None:
    settings = {"lr_scheduler_kwargs": {"num_cycles": 3}}
    rates = schedules.learning_rates(config("cosine_with_restarts", **settings), STEPS)

    assert [t for t in range(1, STEPS) if rates[t] > rates[t - 1] and t > WARMUP] == [40, 70]
    assert rates[40] == rates[70] == PEAK


def test_the_drawn_curve_is_the_one_an_optimizer_gets() -> None:
    train = config("cosine")
    optimizer = torch.optim.AdamW([torch.zeros(2, requires_grad=True)], lr=PEAK)
    scheduler = schedules.build(optimizer, train, 30)
    seen = []
    for _ in range(30):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()

    assert seen == schedules.learning_rates(train, 30)


@pytest.mark.parametrize("name", ["linear", "polynomial", "warmup_stable_decay", "cosine"])
@pytest.mark.parametrize("total", [0, 1, 10])
def test_a_warmup_as_long_as_the_run_does_not_break_the_curve(name: str, total: int) -> None:
    rates = schedules.learning_rates(config(name), total)

    assert rates == pytest.approx([PEAK * t / WARMUP for t in range(total)])


def test_warmup_ratio_rounds_up_and_steps_take_precedence() -> None:
    assert schedules.warmup_steps(TrainConfig(warmup_ratio=0.03), 248) == 8
    assert schedules.warmup_steps(TrainConfig(warmup_ratio=0.5, warmup_steps=7), 248) == 7


@pytest.mark.parametrize(
    ("name", "kwargs", "said"),
    [
        ("cosine_with_restarts", {"num_cycle": 3}, "Did you mean 'num_cycles'?"),
        ("constant", {"num_cycles": 3}, "Known: none."),
        ("polynomial", {"lr_end": 1.0}, "lr_end"),
        ("polynomial", {"power": "two"}, "is 'two', expected a number"),
        ("cosine", {"num_cycles": True}, "is True, expected a number"),
        ("cosine", {"num_cycles": math.inf}, "expected a finite number"),
        ("warmup_stable_decay", {"decay_type": 3}, "is 3, expected a name"),
        ("warmup_stable_decay", {"decay_type": "linaer"}, "linaer"),
        ("inverse_sqrt", {"timescale": 0}, "breaks the curve"),
    ],
)
def test_wrong_arguments_are_named(name: str, kwargs: dict[str, object], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        schedules.learning_rates(config(name, lr_scheduler_kwargs=kwargs), STEPS)

    assert said in str(caught.value)
    assert "train.lr_scheduler_kwargs" in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "settings", "per_epoch", "total"),
    [
        (100, {"per_device_train_batch_size": 8, "num_train_epochs": 3}, 13, 39),
        (100, {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 4}, 4, 12),
        (100, {"per_device_train_batch_size": 8, "num_train_epochs": 0.5}, 13, 7),
        (100, {"max_steps": 5}, 13, 5),
        (0, {"max_steps": 5}, 0, 0),
        (0, {}, 0, 0),
    ],
)
def test_counting_steps(rows: int, settings: dict[str, object], per_epoch: int, total: int) -> None:
    train = TrainConfig(**settings)
    batches = schedules.count_batches(rows, train)

    assert schedules.steps_per_epoch(batches, train) == per_epoch
    assert schedules.count_steps(batches, train) == total
