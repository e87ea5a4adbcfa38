"""Learning-rate schedules and the arithmetic of steps, for the plan and for training alike.

The curves are transformers' own (`transformers.get_scheduler`), so a recipe's curve is the one
its Hugging Face namesake has. Step `t` counts from 0: the first optimizer step uses `lr(0)`,
which with warmup is 0.
"""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any

from luthier.errors import Problem, RecipeError, unknown
from luthier.training.config import TrainConfig

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

_DECAY_SHARE = 0.2
"""Share of the run that warmup_stable_decay cools down for (Hägele et al. 2024, arXiv:2405.18392,
section 3.1: 20 % matches cosine)."""
_GIVEN = {"optimizer", "num_warmup_steps", "num_training_steps", "last_epoch"}
"""Arguments of transformers' schedule functions that do not come from the recipe."""


def count_batches(rows: int, train: TrainConfig) -> int:
    """Micro-batches of one epoch over `rows` rows (packing: over `rows` packed sequences)."""
    return math.ceil(rows / train.per_device_train_batch_size)


def steps_per_epoch(batches_per_epoch: int, train: TrainConfig) -> int:
    """Optimizer steps of one epoch; the last may accumulate fewer micro-batches."""
    return math.ceil(batches_per_epoch / train.gradient_accumulation_steps)


def count_steps(batches_per_epoch: int, train: TrainConfig) -> int:
    """Optimizer steps of the whole run: `max_steps`, or else as many as the epochs take.

    Args:
        batches_per_epoch: micro-batches of one epoch (see `count_batches`).
        train: `gradient_accumulation_steps`, `num_train_epochs`, `max_steps`.
    """
    per_epoch = steps_per_epoch(batches_per_epoch, train)
    if train.max_steps > 0:
        return train.max_steps if per_epoch else 0
    return math.ceil(train.num_train_epochs * per_epoch)


def warmup_steps(train: TrainConfig, total_steps: int) -> int:
    """Steps of warmup: `warmup_steps`, or else `warmup_ratio` of the run, rounded up."""
    return train.warmup_steps or math.ceil(train.warmup_ratio * total_steps)


def learning_rates(train: TrainConfig, total_steps: int) -> list[float]:
    """The learning rate of every optimizer step, without a model.

    Raises:
        RecipeError: `lr_scheduler_kwargs` does not fit the schedule.
    """
    import torch

    dummy = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=train.learning_rate)
    scheduler: Any = build(dummy, train, total_steps)
    (factor,) = scheduler.lr_lambdas
    try:
        return [train.learning_rate * factor(step) for step in range(total_steps)]
    except ArithmeticError as error:
        raise _wrong_kwargs(f"{train.lr_scheduler_kwargs} breaks the curve: {error}.") from None


def build(optimizer: Optimizer, train: TrainConfig, total_steps: int) -> LRScheduler:
    """Build the recipe's schedule over an optimizer; call its `step()` after each optimizer step.

    Args:
        optimizer: its learning rates are those at the top of the curve.
        train: the schedule's name, arguments and warmup.
        total_steps: optimizer steps of the whole run.

    Raises:
        RecipeError: `lr_scheduler_kwargs` does not fit the schedule.
    """
    from transformers import get_scheduler

    _check_kwargs(train)
    kwargs = dict(train.lr_scheduler_kwargs)
    warmup = warmup_steps(train, total_steps)
    span: int | None = total_steps
    if train.lr_scheduler_type == "polynomial":
        # transformers divides by the steps after warmup; none are left when warmup is the run.
        span = max(total_steps, warmup + 1)
    if train.lr_scheduler_type == "warmup_stable_decay":
        stable = kwargs.get("num_stable_steps")
        after = max(total_steps - warmup - (stable or 0), 0)
        decay = after if stable is not None else min(math.ceil(_DECAY_SHARE * total_steps), after)
        kwargs.setdefault("num_decay_steps", decay)
        # Given both, transformers warns and follows num_stable_steps; so give it one.
        span = None if stable is not None else total_steps
    try:
        return get_scheduler(
            train.lr_scheduler_type,
            optimizer,
            num_warmup_steps=warmup,
            num_training_steps=span,
            scheduler_specific_kwargs=kwargs,
        )
    except (ValueError, ArithmeticError) as error:
        raise _wrong_kwargs(f"{train.lr_scheduler_type}: {str(error).rstrip('.')}.") from None


def _check_kwargs(train: TrainConfig) -> None:
    """Raise a RecipeError for arguments the schedule does not take or cannot use."""
    from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION

    function = TYPE_TO_SCHEDULER_FUNCTION[train.lr_scheduler_type]
    known = {k: p for k, p in inspect.signature(function).parameters.items() if k not in _GIVEN}
    problems = []
    for name, value in train.lr_scheduler_kwargs.items():
        where = f"train.lr_scheduler_kwargs.{name}"
        if name not in known:
            kind = f"argument of the schedule {train.lr_scheduler_type}"
            problems.append(Problem(where, unknown(kind, name, known)))
            continue
        text = isinstance(known[name].default, str)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if text != isinstance(value, str) or not (text or number):
            expected = "a name" if text else "a number"
            problems.append(Problem(where, f"is {value!r}, expected {expected}."))
        elif number and not (math.isfinite(value) and value >= 0):
            problems.append(Problem(where, f"is {value!r}, expected a finite number from 0 up."))
    if problems:
        raise RecipeError(problems)


def _wrong_kwargs(message: str) -> RecipeError:
    return RecipeError([Problem("train.lr_scheduler_kwargs", message)])
