"""Training by TRL's `SFTTrainer` (the engine `trl`): the same rows, batches and steps as ours.

Rows are rendered, shared out over batches, watched and saved by luthier; model, gradients,
optimizer, schedule, clipping, precision, NEFTune and label smoothing are Hugging Face's.

Hugging Face's checkpoints hold pickles, so none are written: a run that was cut short starts
again from its first step.
"""

from __future__ import annotations

import itertools
import math
import time
import warnings
from collections.abc import Sequence
from typing import Any

from accelerate import Accelerator
from accelerate.state import AcceleratorState
from datasets import Dataset
from huggingface_hub import constants
from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from luthier import sft
from luthier.console import Advance, progress
from luthier.errors import MissingExtra, TrainingError
from luthier.locate import first_line, hushed
from luthier.training.batches import BatchPlan, Item
from luthier.training.host_memory import peak_bytes
from luthier.training.trainer import Trainer
from luthier.training.watch import Watch

try:
    from trl import SFTConfig, SFTTrainer
except ModuleNotFoundError as error:
    if error.name != "trl":
        raise
    raise MissingExtra("train.engine: trl", "trl") from None

# SFTTrainer reports to its authors at every start; the variable may have come too late.
constants.HF_HUB_DISABLE_TELEMETRY = True

Rows = list[int]
"""Indices of the items in a micro-batch."""


class _OrderedTrainer(SFTTrainer):
    """`SFTTrainer` on given micro-batches."""

    def __init__(self, micro: Sequence[Rows], **options: Any) -> None:
        self.micro = micro
        super().__init__(**options)

    def get_train_dataloader(self) -> Any:
        loader = DataLoader(
            self.train_dataset, batch_sampler=self.micro, collate_fn=self.data_collator
        )
        return self.accelerator.prepare(loader)


class _Teller(TrainerCallback):
    """Events, progress and validation of the steps that `SFTTrainer` takes."""

    def __init__(self, trainer: Trainer, watch: Watch, groups: Sequence[Rows]) -> None:
        self.trainer, self.watch, self.groups = trainer, watch, groups
        self.every = trainer.train.eval_steps or trainer.steps_per_epoch
        self.advance: Advance = lambda n, note="": None
        self.started = 0.0

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.started = time.monotonic()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float],
        **kwargs: Any,
    ) -> None:
        if "loss" not in logs:  # the totals at the end
            return
        done = self.trainer.progress
        items = [self.trainer.items[i] for i in self.groups[done.step]]
        fields = self._record(items, logs)
        self.trainer.run.event("step", **fields)
        speed = fields["tokens"] / max(fields["seconds"], 1e-9)
        note = f"loss {fields['loss']:.4f}  lr {fields['lr']:.2e}  {speed:,.0f} tokens/s"
        self.advance(1, note=note)
        self._mind_nonfinite(fields, items)
        if done.step % self.every == 0 or done.step == state.max_steps:
            self.watch.look()
        control.should_training_stop |= done.stopped_early

    def _record(self, items: Sequence[Item], logs: dict[str, float]) -> dict[str, Any]:
        """The fields of a step's event; counts it."""
        done = self.trainer.progress
        tokens = sum(len(item.ids) for item in items)
        trained = sum(sum(item.trained) for item in items)
        done.step += 1
        done.examples += len(items)
        done.tokens += tokens
        done.trained_tokens += trained
        return {
            "step": done.step,
            "loss": logs["loss"],
            "lr": logs["learning_rate"],
            "grad_norm": logs["grad_norm"],
            "examples": len(items),
            "tokens": tokens,
            "trained_tokens": trained,
            "seconds": round(time.monotonic() - self.started, 4),
            "peak_bytes": peak_bytes(self.trainer.device),
        }

    def _mind_nonfinite(self, fields: dict[str, Any], items: Sequence[Item]) -> None:
        """Hugging Face takes such a step, and every weight is lost; so stop."""
        # fp16 overflows now and then by design: the scaler skips the step and goes on.
        bearable = self.trainer.precision == "fp16_autocast" or math.isfinite(fields["grad_norm"])
        if bearable and math.isfinite(fields["loss"]):
            return
        rows = [item.id for item in items]
        self.trainer.run.event("nonfinite", step=fields["step"], rows=rows)
        shown = ", ".join(rows[:8]) + (", ..." if len(rows) > 8 else "")
        raise TrainingError(
            f"step {fields['step']}: loss {fields['loss']}, gradient norm {fields['grad_norm']}, "
            f"and engine trl takes such a step. Its rows: {shown}. Look at them with "
            f"`luthier show {self.trainer.run.name} --tokens`, lower train.learning_rate, or use "
            "train.engine: luthier, which leaves such a step out."
        )


def train_with_trl(trainer: Trainer, watch: Watch) -> None:
    """Take all optimizer steps of a run through `SFTTrainer`.

    Every step takes the rows that luthier's own would, in the same micro-batches.

    Args:
        trainer: its model, items, order and progress are used; its optimizer is not.
        watch: validates after the steps that the recipe asks for.

    Raises:
        TrainingError: a loss is not finite, or `SFTTrainer` refuses the settings.
    """
    trainer.resume()
    groups = list(trainer.groups())
    teller = _Teller(trainer, watch, [_rows(group) for group in groups])
    config = trainer.model.config
    use_cache = config.use_cache
    with warnings.catch_warnings():
        # Label smoothing leaves SFTTrainer with version 2, which the extra excludes.
        warnings.simplefilter("ignore", FutureWarning)
        try:
            sft_trainer = _build(trainer, groups, teller)
            with progress("Training", len(groups), "steps") as teller.advance:
                sft_trainer.train()
        finally:
            # Hugging Face's precision is that of the whole process until it is taken back.
            AcceleratorState._reset_state()
            Accelerator(cpu=trainer.device.type == "cpu", mixed_precision="no")
    config.use_cache = use_cache  # it would be saved with full weights, switched off


def _build(trainer: Trainer, groups: Sequence[Sequence[BatchPlan]], teller: _Teller) -> SFTTrainer:
    train, device = trainer.train, trainer.device.type
    told = sft.arguments(
        train,
        precision=trainer.precision,
        device=device,
        seed=trainer.seed,
        total_steps=len(groups),
    )
    options = {argument.name: argument.value for argument in told}
    options |= {
        "output_dir": str(trainer.run.folder("train")),
        "max_steps": len(groups),
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "save_strategy": "no",
        "report_to": "none",
        "max_length": None,  # rows that are too long were rejected by the data stage
        # Rows of a packed line are rows of a batch without padding: one after another, each with
        # positions and attention of its own.
        "padding_free": train.packing,
        "dataset_kwargs": {"skip_prepare_dataset": True},
    }
    try:
        with hushed():
            built = _OrderedTrainer(
                _micro_batches(groups, train.gradient_accumulation_steps, len(trainer.items)),
                model=trainer.model,
                args=SFTConfig(**options),
                train_dataset=_dataset(trainer.items),
                processing_class=trainer.renderer.tokenizer,
                callbacks=[teller],
            )
    except ValueError as error:
        raise TrainingError(f"train.engine: trl: {first_line(error)}") from error
    built.remove_callback(PrinterCallback)
    return built


def _dataset(items: Sequence[Item]) -> Dataset:
    """Tokens and labels of all items, and one row that nothing is learned from."""
    ids = [item.ids for item in items]
    labels = [
        [token if trained else -100 for token, trained in zip(item.ids, item.trained, strict=True)]
        for item in items
    ]
    return Dataset.from_dict(
        {"input_ids": [*ids, ids[0]], "labels": [*labels, [-100] * len(ids[0])]}
    )


def _micro_batches(
    groups: Sequence[Sequence[BatchPlan]], accumulation: int, empty: int
) -> list[Rows]:
    """All micro-batches of a run, the same number in every optimizer step.

    Hugging Face's trainer cuts what it is given into steps by counting. The last step of an epoch
    may have fewer micro-batches than the others; it is filled with rows that have no labels, which
    add nothing to a loss that is divided by the labels of the whole step.

    Args:
        groups: micro-batches by optimizer step.
        accumulation: micro-batches of a step.
        empty: index of the row without labels.
    """
    return [
        rows
        for group in groups
        for rows in itertools.islice(
            itertools.chain(([i for line in plan for i in line] for plan in group),
                            itertools.repeat([empty])),
            accumulation,
        )
    ]  # fmt: skip


def _rows(group: Sequence[BatchPlan]) -> Rows:
    return [i for plan in group for line in plan for i in line]
