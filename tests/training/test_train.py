"""The training job on the tiny model: every lever trains, runs repeat byte for byte, and resume."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luthier import model as models
from luthier.artifacts import TrainSummary
from luthier.errors import DataError
from luthier.run import Run, file_digest
from luthier.training import trainer as job
from luthier.training.train import train

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
Train = Callable[..., tuple[Run, TrainSummary]]


def weights(run: Run) -> str:
    return file_digest(run.path / "train" / "adapter" / "adapter_model.safetensors")


def losses(run: Run) -> list[float]:
    return [event["loss"] for event in run.events("step")]


def test_loss_falls_and_every_step_is_an_event(train_run: Train) -> None:
    run, summary = train_run(train={"num_train_epochs": 6, "learning_rate": 1e-2})

    events = run.events("step")
    assert summary.steps == len(events) == 30
    assert losses(run)[-1] < losses(run)[0] - 0.3
    wanted = {"event", "step", "loss", "lr", "grad_norm", "examples", "tokens", "trained_tokens",
              "seconds", "peak_bytes"}  # fmt: skip
    assert all(wanted <= event.keys() for event in events)
    assert sum(e["examples"] for e in events) == summary.examples == 6 * 36
    assert sum(e["trained_tokens"] for e in events) == summary.trained_tokens == 6 * 72
    assert [e["step"] for e in run.events("validation")] == [5, 10, 15, 20, 25, 30]


@pytest.mark.parametrize(
    ("precision", "settings"),
    [
        ("float32", {"lora": None, "learning_rate": 1e-3}),
        ("frozen_bf16", {}),
        ("bf16_autocast", {"bf16": True, "autocast": True}),
        ("fp16_autocast", {"fp16": True}),
        ("float32", {"gradient_checkpointing": True}),
        ("float32", {"packing": True, "max_seq_length": 512}),
        ("float32", {"group_by_length": True}),
        ("float32", {"neftune_noise_alpha": 5}),
        ("float32", {"label_smoothing_factor": 0.1}),
        ("float32", {"label_smoothing_factor": 0.1, "label_smoothing_over": "classes"}),
        ("float32", {"lora": {"r": 4, "lora_dropout": 0.1, "layers_to_transform": [1]}}),
        ("float32", {"lora": {"r": 4, "use_dora": True}}),
        ("float32", {"lora": {"r": 4, "use_rslora": True}}),
        ("float32", {"quantization": {"load_in_4bit": True}, "optim": "paged_adamw_32bit"}),
        ("float32", {"quantization": {"load_in_8bit": True}, "optim": "adamw_bnb_8bit"}),
        ("float32", {"gradient_accumulation_steps": 3, "max_grad_norm": 0.1}),
        ("float32", {"attn_implementation": "eager", "packing": True, "max_seq_length": 512}),
        ("float32", {"train_on": "all"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value) or "default",
)
def test_every_lever_learns(train_run: Train, precision: str, settings: dict[str, Any]) -> None:
    defaults = {"num_train_epochs": 4, "learning_rate": 1e-2, "bf16": None}

    run, summary = train_run(precision=precision, train={**defaults, **settings})

    seen = losses(run)
    assert sum(seen[-3:]) / 3 < seen[0]
    assert summary.precision == precision
    assert (run.path / summary.weights).is_dir()
    if summary.kind == "adapter":
        # What was saved opens again and is not the zero update it started as.
        model = models.open_model(run.recipe.model, adapter=run.path / summary.weights)
        assert any("lora_B" in n and p.abs().max() > 0 for n, p in model.named_parameters())


def test_layers_to_transform_leaves_other_layers_alone(train_run: Train) -> None:
    run, _ = train_run(train={"lora": {"r": 2, "layers_to_transform": [1]}, "max_steps": 1})

    model = models.open_model(run.recipe.model, adapter=run.path / "train" / "adapter")

    adapted = {
        name.split("layers.")[1][0] for name, _ in model.named_parameters() if "lora" in name
    }
    assert adapted == {"1"}


def test_the_same_recipe_gives_the_same_bytes(train_run: Train) -> None:
    settings = {"lora": {"r": 4, "lora_dropout": 0.2}, "neftune_noise_alpha": 5, "max_steps": 6}
    first, _ = train_run(train=settings)
    digest, seen = weights(first), losses(first)
    made_with = (first.path / "train/made_with.json").read_bytes()
    (first.path / "events.jsonl").unlink()

    second, _ = train_run(train=settings)

    assert weights(second) == digest
    assert losses(second) == seen
    assert (second.path / "train/made_with.json").read_bytes() == made_with


def test_another_seed_gives_other_weights(train_run: Train) -> None:
    first, _ = train_run(train={"max_steps": 2})
    digest = weights(first)

    second, _ = train_run(train={"max_steps": 2}, seed=7)

    assert weights(second) != digest


@pytest.mark.parametrize("optim", ["adamw_torch", "paged_lion_8bit"])
def test_a_stopped_run_resumes_to_the_same_bytes(
    ready_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, optim: str
) -> None:
    settings = {
        "num_train_epochs": 2, "optim": optim, "learning_rate": 1e-3, "neftune_noise_alpha": 5,
        "lora": {"r": 4, "lora_dropout": 0.1}, "gradient_accumulation_steps": 2,
        "lr_scheduler_type": "cosine", "warmup_ratio": 0.2, "eval_steps": 2,
    }  # fmt: skip
    run = ready_run(train=settings)
    with run.stage("train", "t"):
        train(run)
    digest, seen = weights(run), losses(run)
    validated = [e["metrics"] for e in run.events("validation")]
    (run.path / "events.jsonl").unlink()

    step = job.Trainer.step
    monkeypatch.setattr(job.Trainer, "step", _stopping_at(4, step))
    with pytest.raises(KeyboardInterrupt), run.stage("train", "t"):
        train(run)
    assert not run.is_done("train")
    monkeypatch.setattr(job.Trainer, "step", step)
    with run.stage("train", "t", resume=True):
        train(run)

    assert run.events("resumed")[0]["step"] == 4
    assert weights(run) == digest
    assert losses(run) == seen
    assert [e["metrics"] for e in run.events("validation")] == validated


def _stopping_at(step: int, original: Callable[..., Any]) -> Callable[..., Any]:
    """A Ctrl-C (SIGTERM from outside) during the given step."""

    def stepping(self: Any, group: Any) -> Any:
        fields = original(self, group)
        if self.progress.step == step:
            assert threading.current_thread() is threading.main_thread()
            os.kill(os.getpid(), signal.SIGTERM)
        return fields

    return stepping


def test_best_weights_are_the_ones_kept(train_run: Train) -> None:
    # A learning rate that ends far too high: the best validation loss is not the last.
    run, summary = train_run(
        train={"num_train_epochs": 6, "learning_rate": 0.5, "lr_scheduler_type": "constant"}
    )

    seen = {e["step"]: e["metrics"]["loss"] for e in run.events("validation")}
    assert summary.best_metric == min(seen.values())
    assert seen[summary.best_step] == summary.best_metric


def test_early_stopping(train_run: Train) -> None:
    run, summary = train_run(
        train={"num_train_epochs": 30, "learning_rate": 0.5, "lr_scheduler_type": "constant",
               "early_stopping_patience": 2}
    )  # fmt: skip

    assert summary.stopped_early
    assert summary.steps < 150
    losses = {e["step"]: e["metrics"]["loss"] for e in run.events("validation")}
    *before, one, other = losses
    assert summary.best_step == before[-1] == min(losses, key=lambda step: losses[step])
    assert losses[one] >= losses[before[-1]] <= losses[other]
    assert summary.steps == other


def test_a_metric_that_does_not_fit_the_task(ready_run: Callable[..., Run]) -> None:
    run = ready_run(
        task={"kind": "generation", "labels": None},
        data={"template": "plain"},
        train={"metric_for_best_model": "accuracy"},
    )

    with pytest.raises(DataError, match="metric_for_best_model"), run.stage("train", "t"):
        train(run)


def test_no_pickle_anywhere_in_a_run(train_run: Train) -> None:
    run, _ = train_run(train={"max_steps": 2})

    endings = {p.suffix for p in run.path.rglob("*") if p.is_file()}

    assert endings <= {".json", ".jsonl", ".yaml", ".safetensors", ".parquet", ".md", ""}
    assert json.loads((run.path / "train" / "summary.json").read_text())["steps"] == 2
    assert not list(Path(run.path).rglob("checkpoints"))
