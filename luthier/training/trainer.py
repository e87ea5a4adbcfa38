"""Model, optimizer, schedule and sampler of a run, and the optimizer step.

`Trainer.step` is one optimizer step; everything that could go wrong in it (non-finite numbers,
memory) is decided here.
"""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from luthier import model as models
from luthier import schedules
from luthier.artifacts import Plan
from luthier.chat import Renderer
from luthier.console import say
from luthier.errors import TrainingError
from luthier.run import Run
from luthier.training import batches, checkpoint, optimizers
from luthier.training.batches import Batch, BatchPlan, Item
from luthier.training.config import TrainConfig
from luthier.training.loss import summed_loss
from luthier.training.noise import EmbeddingNoise

MAX_SKIPPED = 3
"""Steps in a row whose loss or gradient is not finite before training stops."""


@dataclass
class Progress:
    """What has happened so far; part of every checkpoint."""

    step: int = 0
    examples: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    seconds: float = 0.0
    skipped_in_a_row: int = 0
    best_step: int = 0
    best_metric: float | None = None
    worse_in_a_row: int = 0
    stopped_early: bool = False
    batch_size: int | None = None
    accumulation: int | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    """Validation results: {step, metric: value, ...}."""


class Trainer:
    """Model, optimizer, schedule and sampler of one run, and the optimizer step."""

    def __init__(
        self,
        run: Run,
        train: TrainConfig,
        plan: Plan,
        model: torch.nn.Module,
        renderer: Renderer,
        items: list[Item],
        *,
        seed: int,
    ) -> None:
        self.run, self.train, self.plan, self.seed = run, train, plan, seed
        self.renderer, self.items = renderer, items
        self.accelerator = Accelerator(cpu=plan.device == "cpu")
        self.device = self.accelerator.device
        self.precision = plan.precision
        if train.gradient_checkpointing:
            models.checkpoint_activations(model)
        self.noise = None
        if train.neftune_noise_alpha is not None:
            embeddings = model.get_input_embeddings()  # type: ignore[operator]
            self.noise = EmbeddingNoise(embeddings, train.neftune_noise_alpha)
        self.model = self.accelerator.prepare_model(model)
        self.model.train()
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = optimizers.build(self.parameters, train)
        self.scaler = torch.amp.GradScaler(
            self.device.type, enabled=self.precision == "fp16_autocast"
        )
        self.prefix = 0 if self._why_no_prefix() else batches.shared_prefix(items)
        self.progress = Progress()
        self._set_batches(train.per_device_train_batch_size, train.gradient_accumulation_steps)

    @property
    def checkpoints(self) -> Path:
        return self.run.folder("train") / "checkpoints"

    def _why_no_prefix(self) -> str:
        """Why a shared prefix cannot be run once; empty when it can."""
        train = self.train
        if train.packing:
            return "packed lines hold several prompts"
        if train.neftune_noise_alpha is not None:
            return "NEFTune draws noise for every row, its prompt included"
        if train.gradient_checkpointing:
            return "checkpointed layers cannot fill a cache"
        if train.train_on == "all":
            return "the prompt is trained too"
        if not models.has_plain_cache(self.model):
            return "the model's cache is not a plain one"
        if train.lora is not None and train.lora.lora_dropout > 0:
            return "dropout draws a mask for every row, its prompt included"
        return ""

    def _set_batches(self, batch_size: int, accumulation: int) -> None:
        """Fix the batch size; the schedule follows from the number of steps it gives."""
        self.train = self.train.model_copy(
            update={
                "per_device_train_batch_size": batch_size,
                "gradient_accumulation_steps": accumulation,
            }
        )
        self.progress.batch_size, self.progress.accumulation = batch_size, accumulation
        first = batches.plan_epoch(self.items, self.train, seed=self.seed, epoch=0)
        self.steps_per_epoch = math.ceil(len(first) / accumulation)
        self.total_steps = schedules.count_steps(len(first), self.train)
        self.schedule = schedules.build(self.optimizer, self.train, self.total_steps)

    # --- the order of batches -------------------------------------------------------------

    def groups(self) -> Iterator[list[BatchPlan]]:
        """The micro-batches of each optimizer step that is left, in order."""
        size = self.train.gradient_accumulation_steps
        epoch, skip = divmod(self.progress.step, self.steps_per_epoch)
        left = self.total_steps - self.progress.step
        while left > 0:
            planned = batches.plan_epoch(self.items, self.train, seed=self.seed, epoch=epoch)
            for start in range(skip * size, len(planned), size):
                if left == 0:
                    return
                left -= 1
                yield planned[start : start + size]
            epoch, skip = epoch + 1, 0

    # --- one optimizer step ---------------------------------------------------------------

    def step(self, group: list[BatchPlan]) -> dict[str, Any]:
        """One optimizer step over the micro-batches of `group`; returns the event's fields."""
        started = time.monotonic()
        lr = self.optimizer.param_groups[0]["lr"]
        micro = [self._collate(plan) for plan in group]
        trained = sum(len(batch.targets) for batch in micro)
        loss = self.gradients(micro)
        self.scaler.unscale_(self.optimizer)
        limit = self.train.max_grad_norm or math.inf
        grad_norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, limit))
        finite = math.isfinite(loss) and math.isfinite(grad_norm)
        if finite:
            self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        state = self.progress
        state.step += 1
        state.examples += sum(len(batch.items) for batch in micro)
        state.tokens += sum(batch.tokens for batch in micro)
        state.trained_tokens += trained
        fields = {
            "step": state.step,
            "loss": loss,
            "lr": lr,
            "grad_norm": grad_norm,
            "examples": sum(len(batch.items) for batch in micro),
            "tokens": sum(batch.tokens for batch in micro),
            "trained_tokens": trained,
            "seconds": round(time.monotonic() - started, 4),
            "peak_bytes": peak_bytes(),
        }
        self.run.event("step", **fields)
        self._mind_nonfinite(finite, loss, grad_norm, micro)
        return fields

    def gradients(self, micro: list[Batch]) -> float:
        """Accumulate gradients of the mean loss per trained token; returns that loss."""
        trained = sum(len(batch.targets) for batch in micro)
        total = 0.0
        for batch in micro:
            noise = self.noise.rows_of(batch.row_lengths) if self.noise else nullcontext()
            with noise, models.autocast(self.precision, self.device.type):
                summed = summed_loss(self.model, batch, label_smoothing=self._vocabulary_smoothing)
            self.accelerator.backward(self.scaler.scale(summed / trained))
            total += float(summed.detach())
        return total / trained

    @property
    def _vocabulary_smoothing(self) -> float:
        over_vocabulary = self.train.label_smoothing_over == "vocabulary"
        return self.train.label_smoothing_factor if over_vocabulary else 0.0

    def _collate(self, plan: BatchPlan) -> Batch:
        batch = batches.collate(plan, self.items, pad_id=self.renderer.pad_id, prefix=self.prefix)
        return batch.to(self.device)

    def _mind_nonfinite(
        self, finite: bool, loss: float, grad_norm: float, micro: list[Batch]
    ) -> None:
        """A non-finite step was not taken: record its rows, and stop when it keeps happening."""
        state = self.progress
        # fp16 overflows now and then by design: the scaler halves its scale and goes on.
        expected = self.precision == "fp16_autocast" and math.isfinite(loss)
        state.skipped_in_a_row = 0 if finite or expected else state.skipped_in_a_row + 1
        if finite:
            return
        rows = [item.id for batch in micro for item in batch.items]
        self.run.event("nonfinite", step=state.step, rows=rows)
        say(f"step {state.step}: loss {loss}, gradient norm {grad_norm}: not taken", "yellow")
        if state.skipped_in_a_row >= MAX_SKIPPED:
            shown = ", ".join(rows[:8]) + (", ..." if len(rows) > 8 else "")
            raise TrainingError(
                f"loss or gradient was not finite {MAX_SKIPPED} steps in a row (last: step "
                f"{state.step}). Rows of the last one: {shown}. Look at them with "
                f"`luthier show {self.run.name} --tokens`, lower train.learning_rate, or set "
                "train.bf16: false."
            )

    # --- memory ---------------------------------------------------------------------------

    def find_batch_size(self) -> None:
        """Halve the batch until the longest one fits, and double the accumulation to match."""
        longest = sorted(range(len(self.items)), key=lambda i: -len(self.items[i].ids))
        before = checkpoint.random_state()
        while True:
            size = self.train.per_device_train_batch_size
            if self._fits([[i] for i in longest[:size]]):
                break
            if size == 1:
                raise TrainingError(
                    "not even one row fits into memory. Lower train.max_seq_length, or set "
                    "train.gradient_checkpointing: true."
                )
            accumulation = self.train.gradient_accumulation_steps * 2
            say(f"batches of {size} do not fit: {size // 2} x {accumulation} instead", "yellow")
            self.run.event("batch_size", size=size // 2, accumulation=accumulation)
            self._set_batches(size // 2, accumulation)
        checkpoint.set_random_state(before)

    def _fits(self, plan: BatchPlan) -> bool:
        try:
            self.gradients([self._collate(plan)])
        except (torch.OutOfMemoryError, MemoryError):
            return False
        except RuntimeError as error:
            # The CPU allocator has no exception type of its own.
            if "not enough memory" not in str(error) and "can't allocate" not in str(error):
                raise
            return False
        finally:
            self.optimizer.zero_grad(set_to_none=True)
        return True

    # --- checkpoints ----------------------------------------------------------------------

    def save(self) -> None:
        """Write a checkpoint of everything at the current optimizer step."""
        state = {
            "progress": vars(self.progress),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        checkpoint.save(
            self.checkpoints,
            step=self.progress.step,
            model=self.model,
            optimizer=self.optimizer,
            state=state,
            keep=self.train.save_total_limit,
        )
        self.run.event("checkpoint", step=self.progress.step)

    def resume(self) -> None:
        """Go on from the newest valid checkpoint, if there is one."""
        found = checkpoint.load_newest(self.checkpoints)
        if found is None:
            return
        self.progress = Progress(**found.state["progress"])
        assert self.progress.batch_size and self.progress.accumulation
        self._set_batches(self.progress.batch_size, self.progress.accumulation)
        checkpoint.set_weights(self.model, found.weights)
        self.optimizer.load_state_dict(found.optimizer)
        self.schedule.load_state_dict(found.state["schedule"])
        self.scaler.load_state_dict(found.state["scaler"])
        checkpoint.set_random_state(found.state["random"])
        self.run.drop_events_after(found.step)
        self.run.event("resumed", step=found.step)
        say(f"resumed at step {found.step} of {self.total_steps}")


def peak_bytes() -> int:
    """Peak memory so far: of the GPU where there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
