"""What differs on a GPU: other kernels for attention, and memory that runs out with an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier import model as models
from luthier.artifacts import Plan, load_examples
from luthier.chat import Renderer
from luthier.liger import use_liger
from luthier.recipe import ModelSection
from luthier.run import Run
from luthier.training import batches
from luthier.training.train import train
from luthier.training.trainer import Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture
def gpu_run(ready_run: Callable[..., Run]) -> Callable[..., Run]:
    """A run whose plan says `cuda`."""

    def make(**sections: Any) -> Run:
        run = ready_run(**sections)
        Plan.load(run).model_copy(update={"device": "cuda"}).save(run)
        return run

    return make


def gradients(run: Run, *, padded: bool) -> list[torch.Tensor]:
    """Of the first eight rows, from adapters that are not zero."""
    recipe = run.recipe
    renderer = Renderer(models.open_tokenizer(recipe.model))
    items = batches.prepare(load_examples(run, "train"), renderer)
    assert recipe.train.lora is not None
    torch.manual_seed(0)
    model = models.attach_adapter(models.open_model(recipe.model), recipe.train.lora)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    trainer = Trainer(run, recipe.train, Plan.load(run), model, renderer, items, seed=0)
    assert trainer.device.type == "cuda" and trainer.end_to_end
    if padded:
        trainer.prefixes = None
    trainer.gradients([trainer._collate([[i] for i in range(8)])])
    return [p.grad.cpu() for p in trainer.parameters if p.grad is not None]


def test_rows_end_to_end_are_padded_rows(gpu_run: Callable[..., Run]) -> None:
    run = gpu_run(train={"max_seq_length": 1024})

    ours, plain = gradients(run, padded=False), gradients(run, padded=True)

    assert len(ours) == len(plain) > 0
    for one, two in zip(ours, plain, strict=True):
        assert (one - two).abs().max() <= 1e-4 * two.abs().max()


@pytest.mark.parametrize("precision", ["float32", "frozen_bf16"])
def test_a_run_learns_and_uses_the_gpu(gpu_run: Callable[..., Run], precision: str) -> None:
    run = gpu_run(precision=precision, train={"max_steps": 30, "learning_rate": 1e-2})

    with run.stage("train", "t"):
        summary = train(run)

    losses = [event["loss"] for event in run.events("step")]
    assert losses[-1] < 0.9 * losses[0]
    assert 0 < summary.peak_bytes < torch.cuda.get_device_properties(0).total_memory


def test_a_step_that_does_not_fit_is_done_in_pieces(
    gpu_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = gpu_run(train={"max_steps": 2, "per_device_train_batch_size": 8})
    gradients = Trainer.gradients

    def cramped(self: Trainer, micro: Any, *rest: Any) -> float:
        if max(len(batch.items) for batch in micro) > 2:
            torch.empty(2**50, dtype=torch.uint8, device="cuda")
        return gradients(self, micro, *rest)

    monkeypatch.setattr(Trainer, "gradients", cramped)
    with run.stage("train", "t"):
        train(run)

    assert [event["rows"] for event in run.events("memory")] == [4, 2]
    assert [event["examples"] for event in run.events("step")] == [8, 8]


def test_ligers_kernels_compute_the_same(tiny_model_dir: Path) -> None:
    pytest.importorskip("liger_kernel")
    ids = torch.arange(5, 45, device="cuda")[None]
    model = models.open_model(ModelSection(name=str(tiny_model_dir))).to("cuda")
    plain = models.hidden_states(model, input_ids=ids)

    use_liger(model)

    fused = models.hidden_states(model, input_ids=ids)
    assert "forward" in vars(model.model.norm)
    assert (fused - plain).abs().max() <= 1e-4 * plain.abs().max()
