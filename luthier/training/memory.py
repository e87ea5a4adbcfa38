"""Out of memory: the same optimizer steps in smaller pieces, or a stop that loses nothing.

A step that does not fit is done again, one rung further down a ladder:

1. every micro-batch is run in two halves: 1 x 8 rows become 2 x 4, 4 x 2, 8 x 1;
2. gradient checkpointing (Chen et al. 2016, arXiv:1604.06174).

Its rows, their order, the number of steps and the schedule stay what they were, and so do the
gradients: the loss is divided by the trained tokens of the whole step. (Dropout and NEFTune draw
other random numbers for other pieces.) How far down a run is, is part of its checkpoints.
Batches of validation get smaller by themselves.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from luthier import model as models
from luthier import out_of_memory
from luthier.artifacts import Plan
from luthier.console import say, size
from luthier.errors import ModelError, TrainingError
from luthier.hardware import main_memory
from luthier.launch import place
from luthier.training import checkpoint
from luthier.training.batches import Batch, BatchPlan
from luthier.training.host_memory import HostGuard

if TYPE_CHECKING:
    from luthier.training.trainer import Trainer

ADVICE = (
    "What takes less: a lower train.max_seq_length, train.lora instead of full fine-tuning, "
    "train.optim: adamw_bnb_8bit, train.quantization: {load_in_4bit: true}, a smaller model."
)
_STEP_PARTS = ("gradients", "activations", "logits", "temporaries")
"""Of the plan's estimate, what comes and goes with every step."""


def halves(plan: BatchPlan) -> list[BatchPlan]:
    """Split a micro-batch in two: its lines, or the rows of a packed line; one row stays whole."""
    rows: list[Any] = plan if len(plan) > 1 else plan[0]
    middle = -(-len(rows) // 2)
    if len(plan) > 1:
        return [plan[:middle], plan[middle:]]
    return [[rows[:middle]], [rows[middle:]]] if len(rows) > 1 else [plan]


def rows_of(plan: BatchPlan) -> int:
    """Rows of a micro-batch."""
    return sum(len(line) for line in plan)


class Ladder:
    """Runs the micro-batches of a trainer's steps in pieces that fit.

    Args:
        trainer: its `progress` says how far down the ladder the run is.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.can_checkpoint = True
        guarded = trainer.device.type == "cpu" and not trainer.team.in_lockstep
        self.guard = HostGuard(trainer.model, _share_of_free_memory) if guarded else None
        if trainer.train.auto_find_batch_size:
            self._obey(trainer.plan)
        if self.guard is not None and trainer.plan.memory:
            takes = sum(part.bytes for part in trainer.plan.memory if part.part in _STEP_PARTS)
            longest = self.pieces([self._longest()])
            tokens = [trainer._collate(plan).computed_tokens for plan in longest]
            self.guard.expect(takes, max(tokens))

    # --- training ---------------------------------------------------------------------------

    def gradients(self, group: list[BatchPlan]) -> tuple[float, list[Batch]]:
        """Gradients of one optimizer step, going down the ladder until they fit.

        Args:
            group: the step's micro-batches, as the epoch was planned.

        Returns:
            The mean loss per trained token, and the micro-batches that this process has run.

        Raises:
            TrainingError: no rung is left; a checkpoint of the step before is saved.
        """
        trainer, team = self.trainer, self.trainer.team
        rows = [trainer.items[i] for plan in group for line in plan for i in line]
        trained = sum(sum(row.trained) for row in rows)
        before = checkpoint.random_state()
        while True:
            plans = self.pieces(group)
            try:
                with team.together():
                    micro = [trainer._collate(plan) for plan in team.share(plans)]
                    idle = [trainer._collate(plans[0])] * team.idle(len(plans))
                    longest = max((batch.computed_tokens for batch in micro), default=0)
                    with self._guarded(plans, longest):
                        loss = trainer.gradients(micro, trained, idle)
                return team.add_up(trainer.parameters, loss), micro
            except Exception as error:
                if not out_of_memory.happened(error):
                    raise
                reason = out_of_memory.reason(error)
            # Not before here does nothing refer to the abandoned step's tensors.
            trainer.optimizer.zero_grad(set_to_none=True)
            out_of_memory.release()
            checkpoint.set_random_state(before)
            self._go_down(plans, reason)

    def pieces(self, group: list[BatchPlan]) -> list[BatchPlan]:
        """The micro-batches of a step as they are run."""
        for _ in range(self.trainer.progress.halvings):
            group = [half for plan in group for half in halves(plan)]
        return group

    def find(self) -> None:
        """Before training: go down until the longest micro-batch fits (`auto_find_batch_size`).

        Raises:
            TrainingError: nothing fits.
        """
        trainer = self.trainer
        before = checkpoint.random_state()
        # Gradients of an earlier micro-batch are there in all but the first.
        count = min(trainer.train.gradient_accumulation_steps, 2)
        with self._room_for_optimizer():
            self.gradients([self._longest()] * count * trainer.team.size)
        trainer.optimizer.zero_grad(set_to_none=True)
        checkpoint.set_random_state(before)

    @contextlib.contextmanager
    def optimizer_step(self) -> Iterator[None]:
        """The optimizer's step is taken in here; it cannot be taken again where it breaks off.

        Raises:
            TrainingError: instead of the allocator's error.
        """
        with _as_training_error(
            f"step {self.trainer.progress.step + 1}: the optimizer ran out of memory, some weights "
            "changed and others not, so nothing of the step is kept. Repeat the command and "
            "training goes on from the last checkpoint, if there is one"
        ):
            yield

    def restore(self) -> None:
        """Bring the model to where the progress that was loaded says the run is."""
        if self.trainer.progress.gradient_checkpointing:
            self._checkpoint_layers()

    # --- validation -------------------------------------------------------------------------

    @property
    def eval_batch_size(self) -> int:
        """Rows of a batch in validation, at most."""
        state, train = self.trainer.progress, self.trainer.train
        return state.eval_batch_size or train.per_device_eval_batch_size

    def smaller_evaluation(self, rows: int) -> None:
        """A batch of validation did not fit: take fewer rows at a time from here on."""
        if self.trainer.team.in_lockstep:
            raise TrainingError(
                "a batch of validation does not fit into memory, and where the model is shared out "
                "over the processes none can go on by itself. Set a lower "
                "train.per_device_eval_batch_size."
            )
        self.trainer.progress.eval_batch_size = rows
        at_a_time = f"{out_of_memory.counted(rows)} at a time"
        say(f"validation does not fit into memory: from here on {at_a_time}", "yellow")
        self._record("evaluation batches", step=self.trainer.progress.step, rows=rows)

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Validation is run in here; it is told when main memory is about to run out."""
        with self.guard.watch() if self.guard is not None else contextlib.nullcontext():
            yield

    # --- the rungs --------------------------------------------------------------------------

    def _go_down(self, plans: list[BatchPlan], reason: str) -> None:
        state = self.trainer.progress
        step = state.step + 1
        said = f"step {step} does not fit into memory ({reason}); from here on "
        most = max(rows_of(plan) for plan in plans)
        if most > 1:
            state.halvings += 1
            half = max(rows_of(piece) for plan in plans for piece in halves(plan))
            at_a_time = f"{out_of_memory.counted(half)} at a time instead of {most:,}"
            say(f"{said}{at_a_time}; the steps stay the same", "yellow")
            pieces = 2**state.halvings
            self._record("micro-batches", step=step, rows=half, pieces=pieces, reason=reason)
        elif self._checkpoint_layers():
            state.gradient_checkpointing = True
            say(f"{said}gradient checkpointing: less memory, more time", "yellow")
            self._record("gradient checkpointing", step=step, reason=reason)
        else:
            self._stop(reason)

    def _checkpoint_layers(self) -> bool:
        """Switch gradient checkpointing on; False where it is on, or the model has none."""
        trainer = self.trainer
        if trainer.train.gradient_checkpointing or not self.can_checkpoint:
            return False
        try:
            models.checkpoint_activations(trainer.accelerator.unwrap_model(trainer.model))
        except ModelError:
            self.can_checkpoint = False
            return False
        trainer.train = trainer.train.model_copy(update={"gradient_checkpointing": True})
        if self.guard is not None:
            self.guard.forget()
        return True

    def _stop(self, reason: str) -> None:
        """No rung is left: keep what was done, and say what could help."""
        step = self.trainer.progress.step
        how = ", with gradient checkpointing" if self.can_checkpoint else ""
        said = (
            f"step {step + 1} does not fit into memory, not even one row at a time{how}: {reason}."
        )
        if step:
            self.trainer.save()
            self.trainer.team.wait()
            said += (
                f" Everything up to step {step} is saved: free some memory and repeat the command, "
                "and training goes on from there."
            )
        raise TrainingError(f"{said} {ADVICE}")

    def _record(self, change: str, **fields: Any) -> None:
        self.trainer.run.event("memory", change=change, **fields)

    def _obey(self, plan: Plan) -> None:
        """Start where the plan says that steps fit."""
        state, whole = self.trainer.progress, self.trainer.train.per_device_train_batch_size
        planned = plan.decided("per_device_train_batch_size") or whole
        while -(-whole // 2**state.halvings) > planned:
            state.halvings += 1
        if plan.decided("gradient_checkpointing"):
            state.gradient_checkpointing = self._checkpoint_layers()

    # --- measuring --------------------------------------------------------------------------

    def _longest(self) -> BatchPlan:
        """A micro-batch of the longest lines: it sets the peak."""
        trainer = self.trainer
        lines = [line for plan in trainer._plan_epoch(0) for line in plan]
        lines.sort(key=lambda line: -sum(len(trainer.items[i].ids) for i in line))
        return lines[: trainer.train.per_device_train_batch_size]

    @contextlib.contextmanager
    def _guarded(self, plans: list[BatchPlan], tokens: int) -> Iterator[None]:
        """Micro-batches of up to `tokens` tokens are run in here; MemoryError before it is late."""
        if self.guard is None:
            yield
            return
        held = _bytes_held(self.trainer.optimizer)
        checkpointing = self.trainer.train.gradient_checkpointing or not self.can_checkpoint
        if max(rows_of(plan) for plan in plans) > 1 or not checkpointing:
            # An estimate may be wrong: it sends down the ladder, and does not end the run.
            self.guard.require(tokens, held=held, to_come=self._optimizer_to_come())
        with self.guard.watch(), self.guard.measure(tokens, held):
            yield

    def _optimizer_to_come(self) -> int:
        """Bytes of the optimizer's state that its first step is going to take, as planned."""
        planned = sum(p.bytes for p in self.trainer.plan.memory if p.part == "optimizer")
        return max(planned - _bytes_held(self.trainer.optimizer), 0)

    @contextlib.contextmanager
    def _room_for_optimizer(self) -> Iterator[None]:
        """Inside, as much memory is taken as the optimizer's state is going to take."""
        paged = self.trainer.train.optim.startswith("paged")
        needed = 0 if paged else self._optimizer_to_come()
        with _as_training_error(f"the optimizer's state ({size(needed)}) does not fit into memory"):
            room = torch.empty(needed, dtype=torch.uint8, device=self.trainer.device)
        yield
        del room


def _bytes_held(optimizer: torch.optim.Optimizer) -> int:
    states = (value for state in optimizer.state.values() for value in state.values())
    return sum(t.numel() * t.element_size() for t in states if isinstance(t, Tensor))


@contextlib.contextmanager
def _as_training_error(said: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if not out_of_memory.happened(error):
            raise
        reason = out_of_memory.reason(error)
        raise TrainingError(f"{said} ({reason}). {ADVICE}") from None


def _share_of_free_memory() -> int:
    """Bytes of main memory; processes that train together on a machine take theirs all at once."""
    here = place()
    return main_memory()[1] // (here.local_size if here else 1)
