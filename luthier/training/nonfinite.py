"""Loss, gradients or weights that are not finite: no step with them, and their rows named.

1. A step whose loss or gradient is not finite is not taken: weights and moments stay, the
   schedule goes on. Recorded are the batch's rows, and those not finite by themselves.
2. When that has happened too often (`too_many`), or a step left weights that are not finite,
   training goes back to a checkpoint, once: weights, moments, schedule, random numbers and the
   place in the data are as they were then. The failed steps are left out when it comes by again,
   and so is the last step before them: where its update led there, it would lead there again.
   (Chowdhery et al. 2022, "PaLM", arXiv:2204.02311, section 5.1, go back to before a spike of the
   loss and leave out the batches around it; elsewhere these batches do no harm.)
3. After that, or where there is no checkpoint to go back to, training stops.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from luthier.console import say
from luthier.errors import TrainingError
from luthier.training import checkpoint
from luthier.training.batches import BatchPlan
from luthier.training.memory import halves
from luthier.training.parallel import whole

if TYPE_CHECKING:
    from luthier.training.trainer import Progress, Trainer

MAX_IN_A_ROW = 3
"""Steps in a row that may fail before something is done about it."""
MAX_SHARE = 0.1
"""Share of a run's steps that may fail in all; `MAX_IN_A_ROW` may in any case."""
MAX_SHOWN = 8
"""Rows named in a message; events.jsonl has all."""


def weights_are_finite(trainer: Trainer) -> bool:
    """Whether all trained weights are."""
    return _is_finite(torch.nn.utils.get_total_norm([p.detach() for p in trainer.parameters]))


def handle(trainer: Trainer, group: list[BatchPlan], loss: float, grad_norm: float) -> None:
    """Decide what follows from a step that failed: it was not taken, or broke the weights.

    Args:
        trainer: its progress stands behind the step.
        group: the step's micro-batches.
        loss: per trained token.
        grad_norm: before clipping.

    Raises:
        TrainingError: training cannot go on; rows are named.
    """
    state, scaler = trainer.progress, trainer.scaler
    what = f"loss {loss:.4g}, gradient norm {grad_norm:.4g}"
    scaled = scaler.is_enabled() and scaler.get_scale() >= 1
    if scaled and math.isfinite(loss) and not math.isfinite(grad_norm):
        # fp16 overflows now and then by design: the scaler halves its scale and goes on.
        trainer.run.event("overflow", step=state.step, scale=scaler.get_scale())
        say(f"step {state.step} is not taken: {what}; the loss scale is halved", style="dim")
        return
    sound = weights_are_finite(trainer)
    rows = [trainer.items[i].id for plan in group for line in plan for i in line]
    # With broken weights every row fails.
    alone = find_rows(trainer, group) if sound and trainer.team.has_gradients else []
    state.failed[state.step] = alone or rows
    trainer.run.event("nonfinite", step=state.step, rows=rows, alone=alone, weights_finite=sound)
    verdict = "is not taken" if sound else "left weights that are not finite"
    say(f"step {state.step} {verdict}: {what}; {_named(alone or rows)}", style="yellow")
    if sound and not too_many(state, trainer.total_steps):
        return
    if state.went_back_from is not None or not go_back(trainer):
        raise TrainingError(_why_stopped(trainer, what, bool(alone)))


def too_many(state: Progress, total_steps: int) -> bool:
    """Whether more steps have failed than a run can do without."""
    most = max(MAX_IN_A_ROW, MAX_SHARE * total_steps)
    return len(in_a_row(state)) >= MAX_IN_A_ROW or len(state.failed) > most


def in_a_row(state: Progress) -> list[int]:
    """The failed steps that end with the latest one."""
    first = state.step + 1
    while first - 1 in state.failed:
        first -= 1
    return list(range(first, state.step + 1))


def find_rows(trainer: Trainer, group: list[BatchPlan]) -> list[str]:
    """Ids of the rows whose own loss or gradient is not finite.

    Micro-batches that fail are halved until single rows are left.
    """
    before = checkpoint.random_state()
    pending, found = trainer.ladder.pieces(group), []
    while pending:
        plan, *pending = pending
        if _succeeds(trainer, plan):
            continue
        parts = halves(plan)
        if len(parts) > 1:
            pending = parts + pending
        else:
            found.append(trainer.items[plan[0][0]].id)
    checkpoint.set_random_state(before)
    return found


def _succeeds(trainer: Trainer, plan: BatchPlan) -> bool:
    loss = trainer.gradients([trainer._collate(plan)])
    gradients = [p.grad for p in trainer.parameters if p.grad is not None]
    # Scaled gradients overflow by design.
    finite = trainer.scaler.is_enabled() or _is_finite(torch.nn.utils.get_total_norm(gradients))
    trainer.optimizer.zero_grad(set_to_none=True)
    return math.isfinite(loss) and finite


def _is_finite(norm: torch.Tensor) -> bool:
    return math.isfinite(float(whole(norm)))


def go_back(trainer: Trainer) -> bool:
    """Go back to a checkpoint, and mark what is left out from there; False where there is none."""
    state = trainer.progress
    suspect = in_a_row(state)[0] - 1
    found = trainer.load_checkpoint(before=suspect) or trainer.load_checkpoint()
    if found is None:
        return False
    trainer.restore(found)
    now = trainer.progress
    # What did not fit into memory will not do so now.
    now.halvings, now.gradient_checkpointing = state.halvings, state.gradient_checkpointing
    now.eval_batch_size = state.eval_batch_size
    now.went_back_from = state.step
    now.left_out = [step for step in sorted({suspect, *state.failed}) if step > found.step]
    trainer.run.drop_events_after(found.step)
    trainer.run.event(
        "went_back",
        step=found.step,
        went_back_from=state.step,
        left_out=now.left_out,
        failed={str(step): rows for step, rows in state.failed.items()},
    )
    left_out = ", ".join(str(step) for step in now.left_out)
    say(f"back to step {found.step}, once; steps left out: {left_out}", style="yellow")
    return True


def _named(rows: list[str]) -> str:
    shown = ", ".join(rows[:MAX_SHOWN])
    more = f" and {len(rows) - MAX_SHOWN} more in events.jsonl" if len(rows) > MAX_SHOWN else ""
    return f"rows {shown}{more}"


def _why_stopped(trainer: Trainer, what: str, alone: bool) -> str:
    state, steps = trainer.progress, in_a_row(trainer.progress)
    rows = list(dict.fromkeys(row for step in steps for row in state.failed[step]))
    count = f"{len(steps)} steps in a row" if len(steps) > 1 else f"step {steps[-1]}"
    again = (
        "there is no checkpoint to go back to"
        if state.went_back_from is None
        else f"going back once, from step {state.went_back_from}, did not help"
    )
    precision = "" if trainer.precision == "float32" else " or set train.bf16: false,"
    return (
        f"loss, gradient or weights were not finite in {count} (the last: step {state.step}, "
        f"{what}; {len(state.failed)} of {state.step} steps in all), and {again}. "
        f"{'Not finite by themselves' if alone else 'In them'}: {_named(rows)}. Look at them with "
        f"`luthier show {trainer.run.name} --tokens`,{precision} or lower train.learning_rate."
    )
