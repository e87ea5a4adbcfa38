"""Model, optimizer, schedule and sampler of a run, and the optimizer step.

`Trainer.step` is one optimizer step. What is done when it does not fit into memory is said in
`memory.py`, and what when its numbers are not finite in `nonfinite.py`.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from luthier import model as models
from luthier import ragged, schedules, seq2seq
from luthier.artifacts import Plan
from luthier.chat import Renderer
from luthier.console import say
from luthier.run import Run
from luthier.training import batches, checkpoint, nonfinite, optimizers
from luthier.training.averaging import WeightAverage
from luthier.training.batches import Batch, BatchPlan, Item
from luthier.training.checkpoint import Checkpoint
from luthier.training.config import TrainConfig
from luthier.training.host_memory import peak_bytes
from luthier.training.loss import summed_loss
from luthier.training.memory import Ladder
from luthier.training.noise import EmbeddingNoise
from luthier.training.parallel import Team


@dataclass
class Progress:
    """What has happened so far; part of every checkpoint."""

    step: int = 0
    examples: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    seconds: float = 0.0
    best_step: int = 0
    best_metric: float | None = None
    best_sha256: str = ""
    """Of the file that keeps the best weights; empty when there is none."""
    worse_in_a_row: int = 0
    stopped_early: bool = False
    micro_batches: int = 1
    """Of an optimizer step, over all processes, as the recipe has them."""
    halvings: int = 0
    """How many times each micro-batch is halved to fit into memory."""
    gradient_checkpointing: bool = False
    """Switched on to fit into memory; the recipe did not ask for it."""
    eval_batch_size: int | None = None
    """Rows of a batch in validation that fit into memory; None: as many as the recipe says."""
    failed: dict[int, list[str]] = field(default_factory=dict)
    """Steps whose loss, gradient or weights were not finite -> the rows to blame."""
    left_out: list[int] = field(default_factory=list)
    """Steps that are not taken, because training went back from them."""
    went_back_from: int | None = None
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
        team: Team | None = None,
    ) -> None:
        self.team = team or Team()
        self.run, self.train, self.plan, self.seed = run, train, plan, seed
        self.renderer, self.items = renderer, items
        self.accelerator = Accelerator(cpu=plan.device == "cpu", mixed_precision="no")
        self.device = self.accelerator.device
        self.precision = plan.precision
        if train.gradient_checkpointing:
            models.checkpoint_activations(model)
        self.noise = None
        if train.neftune_noise_alpha is not None:
            embeddings = model.get_input_embeddings()  # type: ignore[operator]
            self.noise = EmbeddingNoise(embeddings, train.neftune_noise_alpha)
        # Only put where it is to run: the gradients of several processes are summed by the team.
        self.model = self.accelerator.prepare_model(model, evaluation_mode=True)
        self.model.train()
        padded = ragged.why_not(self.model, train.attn_implementation)
        if padded:
            say(f"rows are padded, and shared prompts are run for every row: {padded}")
        self.end_to_end = not padded
        self.start_id = seq2seq.start_id(self.model)
        # Sliding windows and recurrent states heed no mask between the rows of a packed line.
        self.rows_apart = not self.end_to_end and not models.has_plain_cache(self.model)
        self.team.check(self.model, items)
        self.model = self.team.shard(self.model)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = optimizers.build(self.parameters, train)
        self.average = WeightAverage(self.model) if train.swa_start is not None else None
        self.team.attach(self.model, self.optimizer, train.max_grad_norm)
        self.scaler = torch.amp.GradScaler(
            self.device.type, enabled=self.precision == "fp16_autocast"
        )
        self.progress = Progress()
        self._clock = time.monotonic()
        size = train.per_device_train_batch_size
        self.prefixes = batches.shared_prefixes(items, size) if self.end_to_end else None
        self._planned = 0, self._plan_epoch(0)
        self._set_pace(train.gradient_accumulation_steps * self.team.size)
        self.ladder = Ladder(self)

    @property
    def checkpoints(self) -> Path:
        return self.run.folder("train") / "checkpoints"

    @property
    def best_folder(self) -> Path:
        return self.run.folder("train") / "best"

    def _set_pace(self, micro_batches: int) -> None:
        """Fix the micro-batches of an optimizer step, those of all processes; hence its schedule.

        A run that goes on with another number of processes keeps it, and so its steps.
        """
        self.progress.micro_batches = micro_batches
        self.train = self.train.model_copy(update={"gradient_accumulation_steps": micro_batches})
        in_all = len(self._planned[1])
        self.steps_per_epoch = schedules.steps_per_epoch(in_all, self.train)
        self.total_steps = schedules.count_steps(in_all, self.train)
        self.schedule = schedules.build(self.optimizer, self.train, self.total_steps)

    # --- the order of batches -------------------------------------------------------------

    def _plan_epoch(self, epoch: int) -> list[BatchPlan]:
        return batches.plan_epoch(
            self.items, self.train, seed=self.seed, epoch=epoch, prefixes=self.prefixes
        )

    def groups(self) -> Iterator[list[BatchPlan]]:
        """The micro-batches of each optimizer step that is left, in order."""
        for step in range(self.progress.step, self.total_steps):
            yield self.group(step)

    def group(self, step: int) -> list[BatchPlan]:
        """The micro-batches of the optimizer step that comes after `step` steps."""
        size = self.train.gradient_accumulation_steps
        epoch, index = divmod(step, self.steps_per_epoch)
        if epoch != self._planned[0]:
            self._planned = epoch, self._plan_epoch(epoch)
        planned = self._planned[1]
        return planned[index * size : (index + 1) * size]

    # --- one optimizer step ---------------------------------------------------------------

    def step(self, group: list[BatchPlan]) -> dict[str, Any]:
        """One optimizer step over the micro-batches of `group`; returns the event's fields."""
        if self.progress.step + 1 in self.progress.left_out:
            return self._leave_out(group)
        started = time.monotonic()
        lr = self.optimizer.param_groups[0]["lr"]
        self.team.seed(self.seed, self.progress.step)
        loss, micro = self.ladder.gradients(group)
        self.scaler.unscale_(self.optimizer)
        grad_norm = self.team.clip(self.parameters, self.train.max_grad_norm or math.inf)
        finite = math.isfinite(loss) and math.isfinite(grad_norm)
        if finite:
            with self.ladder.optimizer_step():
                self.team.take_step(self.scaler, self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self._count_step()
        counts = self._count(micro)
        state = self.progress
        state.examples += counts["examples"]
        state.tokens += counts["tokens"]
        state.trained_tokens += counts["trained_tokens"]
        fields = {
            "step": state.step,
            "loss": loss,
            "lr": lr,
            "grad_norm": grad_norm,
            **counts,
            "seconds": round(time.monotonic() - started, 4),
            "peak_bytes": peak_bytes(self.device),
        }
        self.run.event("step", **fields)
        if not (finite and nonfinite.weights_are_finite(self)):
            nonfinite.handle(self, group, loss, grad_norm)
        elif self.average is not None and self._in_average(state.step):
            self.average.add()
        return fields

    def _in_average(self, step: int) -> bool:
        return step > (self.train.swa_start or 0.0) * self.total_steps

    def averaged(self) -> AbstractContextManager[None]:
        """Inside, the model has the weights that training would end with now."""
        return self.average.in_place() if self.average is not None else nullcontext()

    def _leave_out(self, group: list[BatchPlan]) -> dict[str, Any]:
        """Pass a step by that training went back from; the schedule goes on."""
        self._count_step()
        rows = [self.items[i].id for plan in group for line in plan for i in line]
        fields = {"step": self.progress.step, "rows": rows}
        self.run.event("left_out", **fields)
        say(f"step {self.progress.step} is left out", style="yellow")
        return fields

    def _count_step(self) -> None:
        self.progress.step += 1
        with warnings.catch_warnings():
            # A first step that is not taken is no mistake in the order of calls.
            warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
            self.schedule.step()

    def _count(self, micro: list[Batch]) -> dict[str, int]:
        """What was run, over all processes."""
        mine = {
            "examples": sum(len(batch.items) for batch in micro),
            "tokens": sum(batch.tokens for batch in micro),
            "trained_tokens": sum(len(batch.targets) for batch in micro),
            "computed_tokens": sum(batch.computed_tokens for batch in micro),
        }
        in_all = self.team.sum([float(count) for count in mine.values()])
        return {name: int(count) for name, count in zip(mine, in_all, strict=True)}

    def gradients(
        self, micro: Sequence[Batch], trained: int | None = None, idle: Sequence[Batch] = ()
    ) -> float:
        """Accumulate gradients of the mean loss per trained token; returns that loss.

        Args:
            micro: the micro-batches of this process.
            trained: trained tokens of the whole step; null: of these micro-batches.
            idle: micro-batches to run for nothing, since other processes wait for it.
        """
        trained = trained or sum(len(batch.targets) for batch in micro)
        total = 0.0
        for left, batch in zip(range(len(micro) + len(idle), 0, -1), [*micro, *idle], strict=True):
            counts = left > len(idle)
            noise = self.noise.rows_of(batch.row_lengths) if self.noise else nullcontext()
            # Open until the backward pass is over: checkpointed layers run again in it.
            with ragged.laid_out(self.model, batch.layout):
                with noise, models.autocast(self.precision, self.device.type):
                    summed = self.team.inside(self.model, partial(self._summed_loss, batch))
                scaled = self.scaler.scale(summed / trained)
                self.team.backward(scaled if counts else scaled * 0, last=left == 1)
            total += float(summed.detach()) if counts else 0.0
        return total / trained

    def _summed_loss(self, batch: Batch) -> torch.Tensor:
        return summed_loss(self.model, batch, label_smoothing=self._vocabulary_smoothing)

    @property
    def _vocabulary_smoothing(self) -> float:
        over_vocabulary = self.train.label_smoothing_over == "vocabulary"
        return self.train.label_smoothing_factor if over_vocabulary else 0.0

    def _collate(self, plan: BatchPlan) -> Batch:
        if self.rows_apart:
            plan = [[i] for line in plan for i in line]
        batch = batches.collate(
            plan,
            self.items,
            pad_id=self.renderer.pad_id,
            prefixes=self.prefixes,
            start_id=self.start_id,
        )
        return batch.to(self.device)

    # --- checkpoints ----------------------------------------------------------------------

    def save(self) -> None:
        """Write a checkpoint of everything at the current optimizer step."""
        if not self.team.saves:
            return
        weights = self.team.weights(self.model)
        optimizer = self.team.optimizer_state(self.optimizer)
        self.seconds()
        if not self.team.writes:
            return
        best, digest = self.progress.best_step, self.progress.best_sha256
        state = {
            "progress": vars(self.progress),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": self.average.state() if self.average is not None else None,
        }
        checkpoint.save(
            self.checkpoints,
            step=self.progress.step,
            weights=weights,
            optimizer=optimizer,
            state=state,
            keep=self.train.save_total_limit,
            belongs_to=self.run.started_as("train"),
            log=self.run.path / "events.jsonl",
            beside={checkpoint.weights_file(self.best_folder, best): digest} if digest else None,
        )
        self.run.event("checkpoint", step=self.progress.step)

    def resume(self) -> None:
        """Go on from the newest valid checkpoint, if there is one.

        Raises:
            RunError: the newest one belongs to another recipe or another model.
        """
        for folder in (self.checkpoints, self.best_folder) if self.team.writes else ():
            checkpoint.sweep(folder)
        found = self.load_checkpoint()
        # Steps that an attempt made and no checkpoint holds are made, and told, again.
        self.run.drop_events_after(found.step if found else 0)
        self._clock = time.monotonic()
        if found is None:
            return
        self.restore(found)
        self.run.event("resumed", step=found.step)
        say(f"resumed at step {found.step} of {self.total_steps}")

    def load_checkpoint(self, *, before: int | None = None) -> Checkpoint | None:
        """Read the newest valid checkpoint (of those before a step, if one is given)."""
        owner = self.run.started_as("train")
        found = checkpoint.load_newest(self.checkpoints, belongs_to=owner, before=before)
        self.team.agree("the newest checkpoints", found.step if found else 0)
        return found

    def restore(self, found: Checkpoint) -> None:
        """Bring everything to where it was when a checkpoint was saved."""
        self.progress = Progress(**found.state["progress"])
        if self.progress.micro_batches != self.train.gradient_accumulation_steps:
            self._set_pace(self.progress.micro_batches)
        self.team.set_weights(self.model, found.weights)
        self.team.set_optimizer_state(self.optimizer, found.optimizer)
        self.schedule.load_state_dict(found.state["schedule"])
        self.scaler.load_state_dict(found.state["scaler"])
        if self.average is not None:
            self.average.restore(**found.state["average"])
        checkpoint.set_random_state(found.state["random"])
        self.ladder.restore()

    def seconds(self) -> float:
        """How long training has taken, earlier attempts up to their last checkpoint included."""
        now = time.monotonic()
        self.progress.seconds += now - self._clock
        self._clock = now
        return self.progress.seconds
