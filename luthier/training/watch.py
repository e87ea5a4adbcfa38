"""Validation while training: the best weights are kept, and training stops when none come."""

from __future__ import annotations

import math

from luthier.console import say
from luthier.errors import DataError
from luthier.example import Example
from luthier.training import batches, checkpoint
from luthier.training.trainer import Trainer
from luthier.training.validation import validate


class Watch:
    """Validation, best weights and early stopping."""

    def __init__(self, trainer: Trainer, examples: list[Example], labels: list[str]) -> None:
        self.trainer, self.examples, self.labels = trainer, examples, labels
        self.items = batches.prepare(examples, trainer.renderer) if examples else []
        self.metric = trainer.train.metric_for_best_model
        if self.metric != "loss" and not labels:
            raise DataError(
                f"train.metric_for_best_model: {self.metric} needs task.kind: classification; "
                "use loss."
            )

    def look(self) -> None:
        """Validate now; keep the weights when they are the best so far."""
        if self.items:
            with self.trainer.averaged():
                self._look()

    def _look(self) -> None:
        trainer, state = self.trainer, self.trainer.progress
        with trainer.ladder.evaluating():
            metrics = validate(
                trainer.model,
                self.examples,
                self.items,
                trainer.renderer,
                labels=self.labels,
                batch_size=trainer.ladder.eval_batch_size,
                device=trainer.device,
                end_to_end=trainer.end_to_end,
                smaller=trainer.ladder.smaller_evaluation,
                team=trainer.team,
            )
        trainer.run.event("validation", step=state.step, metrics=metrics)
        state.history.append({"step": state.step, **metrics})
        shown = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        say(f"step {state.step}: validation {shown}")
        value = metrics[self.metric]
        gain = math.inf
        if not math.isfinite(value):
            say(f"step {state.step}: validation is not finite, and so not the best", "yellow")
            gain = -math.inf
        elif state.best_metric is not None:
            gain = state.best_metric - value if self.metric == "loss" else value - state.best_metric
        if gain > 0:
            state.best_step, state.best_metric = state.step, value
            self._keep()
        improved = gain > trainer.train.early_stopping_threshold
        state.worse_in_a_row = 0 if improved else state.worse_in_a_row + 1
        patience = trainer.train.early_stopping_patience
        state.stopped_early = patience is not None and state.worse_in_a_row >= patience

    def _keep(self) -> None:
        """Keep the weights of this step, where training is to end with the best ones."""
        trainer, state = self.trainer, self.trainer.progress
        if trainer.train.load_best_model_at_end:
            weights = trainer.team.weights(trainer.model)
            if trainer.team.writes:
                state.best_sha256 = checkpoint.save_weights(
                    trainer.best_folder, weights, state.step, root=trainer.checkpoints
                )

    def restore_best(self) -> None:
        """Put the best weights back into the model."""
        trainer, state = self.trainer, self.trainer.progress
        if trainer.team.writes and state.best_step != state.step:
            weights = checkpoint.load_weights(
                trainer.best_folder, state.best_step, state.best_sha256
            )
            # Training is over: the model is a whole one, and this process's alone.
            checkpoint.set_weights(trainer.model, weights)
