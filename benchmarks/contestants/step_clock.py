"""Times the steps of a Hugging Face Trainer, and validates between them off the clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback

from contestants.protocol import Lines


class StepClock(TrainerCallback):  # type: ignore[misc]
    """Writes a line per optimizer step; needs `logging_steps=1`.

    The loss is logged at the end of each step, and reading it waits for the device, so the time
    between two logs is the time of a step.
    """

    def __init__(
        self, out: Lines, *, every: int = 0, validate: Callable[[Any], float] | None = None
    ) -> None:
        self.out, self.every, self.validate = out, every, validate
        self.last, self.train_seconds = 0.0, 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self.last = time.perf_counter()

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Any = None, model: Any = None, **more: Any
    ) -> None:
        if not logs or "loss" not in logs:
            return
        seconds = time.perf_counter() - self.last
        self.train_seconds += seconds
        step = state.global_step
        self.out.write("step", step=step, seconds=seconds, loss=float(logs["loss"]))
        due = self.every and (step % self.every == 0 or step == state.max_steps)
        if self.validate is not None and due:
            self.out.write(
                "validation",
                step=step,
                train_seconds=self.train_seconds,
                loss=self.validate(model),
            )
        self.last = time.perf_counter()
