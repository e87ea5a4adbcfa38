"""The mean of the weights over the end of a run: what it is of, what sees it, what resumes it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from luthier.artifacts import TrainSummary
from luthier.run import Run, file_digest
from luthier.training import checkpoint, watch
from luthier.training import trainer as job
from luthier.training.averaging import WeightAverage
from luthier.training.train import train

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
Train = Callable[..., tuple[Run, TrainSummary]]

SETTINGS = {"max_steps": 8, "learning_rate": 1e-2, "lora": {"r": 4, "lora_dropout": 0.1}}


def saved(run: Run) -> dict[str, Tensor]:
    return load_file(run.path / "train/adapter/adapter_model.safetensors")


def steps_of(run: Run) -> list[Any]:
    return [(event["loss"], event["grad_norm"], event["lr"]) for event in run.events("step")]


@pytest.fixture
def weights_by_step(monkeypatch: pytest.MonkeyPatch) -> dict[int, dict[str, Tensor]]:
    """The weights after every step that was taken, as adapters are saved: by short names."""
    seen: dict[int, dict[str, Tensor]] = {}
    step = job.Trainer.step

    def stepping(self: Any, group: Any) -> Any:
        fields = step(self, group)
        weights = checkpoint.trained(self.model).items()
        seen[self.progress.step] = {n.replace(".default", ""): w.clone() for n, w in weights}
        return fields

    monkeypatch.setattr(job.Trainer, "step", stepping)
    return seen


def test_a_run_ends_with_the_mean_of_its_last_steps(
    train_run: Train, weights_by_step: dict[int, dict[str, Tensor]]
) -> None:
    run, summary = train_run(train={**SETTINGS, "swa_start": 0.5})

    last = [weights_by_step[step] for step in (5, 6, 7, 8)]
    expected = {name: torch.stack([w[name] for w in last]).mean(0) for name in last[0]}
    torch.testing.assert_close(saved(run), expected)
    assert not torch.equal(last[-1][(name := next(iter(expected)))], expected[name])
    assert summary.averaged_steps == 4


def test_training_does_not_notice_but_validation_does(train_run: Train) -> None:
    plain, summary = train_run(train={**SETTINGS, "eval_steps": 2})
    taken, validated = steps_of(plain), [e["metrics"] for e in plain.events("validation")]
    assert summary.averaged_steps == 0
    (plain.path / "events.jsonl").unlink()

    averaged, _ = train_run(train={**SETTINGS, "eval_steps": 2, "swa_start": 0.5})

    assert steps_of(averaged) == taken
    seen = [event["metrics"] for event in averaged.events("validation")]
    assert seen[:2] == validated[:2]  # steps 2 and 4 are before the mean begins
    assert seen[2] != validated[2] and seen[3] != validated[3]


def test_the_best_weights_are_those_that_were_validated(
    train_run: Train,
    weights_by_step: dict[int, dict[str, Tensor]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    losses = iter([4.0, 3.0, 1.0, 2.0])  # of the validations after steps 2, 4, 6 and 8
    monkeypatch.setattr(watch, "validate", lambda *_, **__: {"loss": next(losses)})
    run, summary = train_run(train={**SETTINGS, "eval_steps": 2, "swa_start": 0.5})

    assert summary.best_step == 6
    a, b = weights_by_step[5], weights_by_step[6]
    torch.testing.assert_close(saved(run), {name: (a[name] + b[name]) / 2 for name in a})


@pytest.mark.parametrize("stopped_at", [3, 6], ids=["before the mean begins", "amid it"])
def test_a_stopped_run_resumes_to_the_same_bytes(
    ready_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, stopped_at: int
) -> None:
    run = ready_run(train={**SETTINGS, "swa_start": 0.5, "eval_steps": 4})
    with run.stage("train", "t"):
        train(run)
    adapter = run.path / "train/adapter/adapter_model.safetensors"
    digest, seen = file_digest(adapter), steps_of(run)
    validated = [event["metrics"] for event in run.events("validation")]
    (run.path / "events.jsonl").unlink()
    step = job.Trainer.step

    def stopping(self: Any, group: Any) -> Any:
        fields = step(self, group)
        if self.progress.step == stopped_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return fields

    monkeypatch.setattr(job.Trainer, "step", stopping)
    with pytest.raises(KeyboardInterrupt), run.stage("train", "t"):
        train(run)
    monkeypatch.setattr(job.Trainer, "step", step)
    with run.stage("train", "t", resume=True):
        train(run)

    assert run.events("resumed")[0]["step"] == stopped_at
    assert file_digest(adapter) == digest
    assert steps_of(run) == seen
    assert [event["metrics"] for event in run.events("validation")] == validated


# --- the mean itself ---------------------------------------------------------------------------


@pytest.fixture
def model() -> torch.nn.Module:
    model = torch.nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.fill_(8)
        model.bias.fill_(0)
    return model


def test_the_mean_is_in_place_for_a_while(model: torch.nn.Module) -> None:
    average = WeightAverage(model)
    with average.in_place():
        assert model.weight.item() == 8  # nothing was added yet
    average.add()
    with torch.no_grad():
        model.weight.fill_(4)
    average.add()

    with average.in_place():
        assert model.weight.item() == 6

    assert model.weight.item() == 4
    average.put()
    assert model.weight.item() == 6


def test_weights_come_back_where_a_validation_breaks_off(model: torch.nn.Module) -> None:
    average = WeightAverage(model)
    average.add()
    with torch.no_grad():
        model.weight.fill_(4)

    with pytest.raises(MemoryError), average.in_place():
        raise MemoryError

    assert model.weight.item() == 4


def test_going_back_to_before_the_mean_forgets_it(model: torch.nn.Module) -> None:
    average = WeightAverage(model)
    before: Any = average.state()
    average.add()

    average.restore(**before)
    with torch.no_grad():
        model.weight.fill_(2)
    average.add()

    average.put()
    assert model.weight.item() == 2
