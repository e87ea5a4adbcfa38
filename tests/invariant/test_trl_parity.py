"""Engine `trl` takes the steps that engine `luthier` takes: the loss of each of 20 is the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from luthier.run import Run
from luthier.training.train import train

pytest.importorskip("trl")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

STEPS = 20
NEAR = 1e-5
"""Relative; sums are taken in another order."""
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "smoothing": {"label_smoothing_factor": 0.1},
    "accumulation": {"gradient_accumulation_steps": 4, "per_device_train_batch_size": 2},
    "packing": {"packing": True, "max_seq_length": 96, "per_device_train_batch_size": 2},
}
"""42 rows: epochs end with a short batch and, accumulating, with a short step."""
FULL = {"lora": None, "learning_rate": 1e-3}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def take_steps(run: Run, engine: str) -> tuple[dict[str, list[float]], dict[str, torch.Tensor]]:
    """What the steps of an engine recorded, and the weights they ended with."""
    recipe = run.recipe.resolved()
    recipe["train"]["engine"] = engine
    run.write_json("recipe.json", recipe)
    run.write_text("events.jsonl", "")
    with run.stage("train", engine):
        summary = train(run)
    events = run.events("step")
    names = ("loss", "lr", "grad_norm", "examples", "tokens", "trained_tokens")
    (weights,) = (run.path / summary.weights).glob("*.safetensors")
    return {name: [event[name] for event in events] for name in names}, load_file(weights)


@pytest.mark.parametrize("weights", ["lora", "full"])
@pytest.mark.parametrize("name", SETTINGS)
def test_every_step_has_the_same_loss(
    ready_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, name: str, weights: str
) -> None:
    from luthier.training import trl_engine

    run = ready_run(
        data={"template": "plain", "split": {"validation": 0}},
        train={
            "max_steps": STEPS, "lr_scheduler_type": "cosine", "warmup_ratio": 0.1,
            "weight_decay": 0.1, "max_grad_norm": 0.5, **SETTINGS[name],
            **(FULL if weights == "full" else {}),
        },
    )  # fmt: skip
    trained: list[Any] = []
    step = trl_engine.SFTTrainer.training_step
    monkeypatch.setattr(
        trl_engine.SFTTrainer, "training_step",
        lambda self, *args, **options: trained.append(self) or step(self, *args, **options),
    )  # fmt: skip

    ours, our_weights = take_steps(run, "luthier")
    assert not trained
    theirs, their_weights = take_steps(run, "trl")

    assert len(trained) == STEPS * run.recipe.train.gradient_accumulation_steps
    assert trained[0].padding_free == run.recipe.train.packing, "TRL keeps packed rows apart"
    assert len(theirs["loss"]) == STEPS
    for count in ("examples", "tokens", "trained_tokens"):
        assert theirs[count] == ours[count]
    assert len(set(ours["examples"])) > 1, "a short step is among them"
    assert theirs["lr"] == pytest.approx(ours["lr"], rel=1e-9)
    assert theirs["loss"] == pytest.approx(ours["loss"], rel=NEAR)
    assert theirs["grad_norm"] == pytest.approx(ours["grad_norm"], rel=10 * NEAR)
    assert max(ours["grad_norm"]) > 0.5, "some gradients are clipped"
    assert ours["loss"][-1] < ours["loss"][0] - 0.2
    assert their_weights.keys() == our_weights.keys()
    for tensor, value in our_weights.items():
        torch.testing.assert_close(their_weights[tensor], value, atol=1e-4, rtol=0)
