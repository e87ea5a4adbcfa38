"""Out of memory: rungs that change no gradient, and the guard of main memory.

Memory that really runs out is in tests/faults/test_memory_runs_out.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from luthier import model as models
from luthier.artifacts import Decision, MemoryPart, Plan, load_examples
from luthier.chat import Renderer
from luthier.errors import TrainingError
from luthier.recipe import ModelSection
from luthier.run import Run
from luthier.training import batches, checkpoint, host_memory, validation
from luthier.training import trainer as job
from luthier.training.host_memory import LOGIT_BYTES, RESERVE, HostGuard
from luthier.training.memory import halves
from luthier.training.watch import Watch

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
MB = 10**6
TOO_MUCH = 2**56
"""Elements of a tensor that no machine has room for: the allocator says so."""


def make_trainer(run: Run) -> job.Trainer:
    """A trainer as `train` makes it, with an adapter that has moved from its zeros."""
    recipe = run.recipe
    assert recipe.train.lora is not None
    renderer = Renderer(models.open_tokenizer(recipe.model), recipe.train.train_on)
    items = batches.prepare(load_examples(run, "train"), renderer)
    torch.manual_seed(0)
    model = models.attach_adapter(models.open_model(recipe.model), recipe.train.lora)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return job.Trainer(run, recipe.train, Plan.load(run), model, renderer, items, seed=0)


# --- the rungs -----------------------------------------------------------------------------------


def test_halves_keep_the_rows_and_their_order() -> None:
    assert halves([[3], [1], [2]]) == [[[3], [1]], [[2]]]
    assert halves([[3, 1, 2]]) == [[[3, 1]], [[2]]]
    assert halves([[3]]) == [[[3]]]


@pytest.mark.parametrize("packing", [False, True])
def test_gradients_are_the_same_on_every_rung(ready_run: Callable[..., Run], packing: bool) -> None:
    size = 2 if packing else 8
    run = ready_run(
        train={"per_device_train_batch_size": size, "packing": packing, "max_seq_length": 512}
    )
    trainer = make_trainer(run)
    (group,) = [trainer.group(0)]

    def gradients() -> tuple[float, dict[str, torch.Tensor], list[int]]:
        loss, micro = trainer.ladder.gradients(group)
        found = {n: p.grad.clone() for n, p in trainer.model.named_parameters() if p.requires_grad}
        trainer.optimizer.zero_grad()
        return loss, found, [len(batch.items) for batch in micro]

    loss, whole, sizes = gradients()
    assert len(sizes) == 1
    seen = [sizes]
    rungs: list[Callable[[], Any]] = [
        *[lambda: setattr(trainer.progress, "halvings", trainer.progress.halvings + 1)] * 4,
        trainer.ladder._checkpoint_layers,
    ]
    for go_down in rungs:
        go_down()
        other, found, sizes = gradients()
        seen.append(sizes)
        assert other == pytest.approx(loss, rel=1e-5)
        assert found.keys() == whole.keys() and found
        for name, gradient in whole.items():
            scale = gradient.abs().max()
            assert scale > 0
            assert (gradient - found[name]).abs().max() <= 1e-5 * scale, name
    assert all(sum(sizes) == sum(seen[0]) for sizes in seen)
    assert len(seen[1]) == 2 and set(seen[4]) == {1}


def test_nothing_of_an_abandoned_attempt_is_left(ready_run: Callable[..., Run]) -> None:
    trainer = make_trainer(ready_run(train={"lora": {"r": 4, "lora_dropout": 0.2}}))
    guard = trainer.ladder.guard
    assert guard is not None
    group = [[[0]], [[1], [2], [3], [4]]]
    # Room for the logits of one row: the first micro-batch fits, the second fails after dropout.
    one_row = sum(trainer.items[0].trained)
    words = trainer.model.get_output_embeddings().weight.shape[0]
    guard.free = lambda: RESERVE + LOGIT_BYTES * words * one_row

    def gradients() -> list[torch.Tensor]:
        torch.manual_seed(7)
        trainer.ladder.gradients(group)
        found = [p.grad.clone() for p in trainer.parameters if p.grad is not None]
        trainer.optimizer.zero_grad(set_to_none=True)
        return [*found, torch.get_rng_state()]

    after_failures = gradients()
    assert trainer.progress.halvings == 2
    at_once = gradients()

    assert len(after_failures) == len(at_once) > 1
    assert all(map(torch.equal, after_failures, at_once))


def test_the_plans_batch_is_where_training_starts(ready_run: Callable[..., Run]) -> None:
    run = ready_run(train={"per_device_train_batch_size": 10, "auto_find_batch_size": True})
    decisions = [
        Decision(key="per_device_train_batch_size", value=3, why=""),
        Decision(key="gradient_checkpointing", value=True, why=""),
    ]
    Plan.load(run).model_copy(update={"decisions": decisions}).save(run)

    trainer = make_trainer(run)

    assert [len(plan) for plan in trainer.ladder.pieces(trainer.group(0))] == [3, 2, 3, 2]
    assert trainer.train.gradient_checkpointing
    assert trainer.steps_per_epoch == 4  # 36 rows, 10 a step


def test_validation_takes_fewer_rows_where_more_do_not_fit(
    ready_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ready_run(train={"per_device_eval_batch_size": 8})
    trainer = make_trainer(run)
    watch = Watch(trainer, load_examples(run, "test"), run.recipe.labels)
    watch.look()
    summed_loss = validation.summed_loss

    def cramped(model: Any, batch: Any) -> Any:
        assert not model.training
        torch.empty(TOO_MUCH if len(batch.items) > 3 else 0)  # the allocator's own error
        return summed_loss(model, batch)

    monkeypatch.setattr(validation, "summed_loss", cramped)
    watch.look()
    watch.look()

    events = run.events("memory")
    assert [(e["change"], e["rows"]) for e in events] == [
        ("evaluation batches", 4), ("evaluation batches", 2),
    ]  # fmt: skip
    assert trainer.progress.eval_batch_size == trainer.ladder.eval_batch_size == 2
    assert trainer.model.training
    first, *others = (e["metrics"] for e in run.events("validation"))
    assert all(other == pytest.approx(first, rel=1e-5) for other in others)


def test_an_optimizer_that_runs_out_of_memory_is_not_tried_again(
    ready_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ready_run()
    trainer = make_trainer(run)
    monkeypatch.setattr(trainer.optimizer, "step", lambda: torch.empty(TOO_MUCH))

    with pytest.raises(TrainingError, match="step 1: the optimizer ran out of memory"):
        trainer.step(trainer.group(0))

    assert not run.events("memory") and not list(trainer.checkpoints.glob("*"))


# --- main memory, while it is not yet used up ----------------------------------------------------


def test_a_run_that_cannot_go_on_is_saved(ready_run: Callable[..., Run]) -> None:
    run = ready_run(train={"lora": {"r": 4, "lora_dropout": 0.1}})
    with run.stage("train", "t"):
        trainer = make_trainer(run)
        assert trainer.ladder.guard is not None
        trainer.step(trainer.group(0))
        before = {n: w.clone() for n, w in checkpoint.trained(trainer.model).items()}
        random = checkpoint.random_state()
        trainer.ladder.guard.free = lambda: RESERVE - 1

        with pytest.raises(TrainingError, match="Everything up to step 1 is saved: free some"):
            trainer.step(trainer.group(1))

        assert all(p.grad is None for p in trainer.parameters)
        found = trainer.load_checkpoint()
    assert found is not None and found.step == 1
    assert found.weights.keys() == before.keys()
    assert all(torch.equal(before[name], weight) for name, weight in found.weights.items())
    assert found.state["random"] == random
    assert found.state["progress"]["gradient_checkpointing"]
    changes = [e["change"] for e in run.events("memory")]
    assert changes == ["micro-batches"] * 3 + ["gradient checkpointing"]


def test_the_guard_expects_what_the_plan_says(
    ready_run: Callable[..., Run],
) -> None:
    run = ready_run(train={"per_device_train_batch_size": 8})
    parts = [
        MemoryPart(part="activations", bytes=70 * MB, how=""),
        MemoryPart(part="logits", bytes=10 * MB, how=""),
        MemoryPart(part="weights", bytes=900 * MB, how=""),
    ]
    Plan.load(run).model_copy(update={"memory": parts}).save(run)
    trainer = make_trainer(run)
    guard = trainer.ladder.guard
    assert guard is not None

    guard.free = lambda: RESERVE + 60 * MB  # room for half of what is planned, and a bit
    trainer.ladder.gradients(trainer.group(0))
    assert trainer.progress.halvings == 1
    reason = run.events("memory")[0]["reason"]
    assert reason.startswith("it takes about ") and reason.endswith("and 60.0 MB are free")


def test_the_guard_asks_for_room_in_proportion_to_tokens(tiny_model_dir: Path) -> None:
    free = 0
    model = models.open_model(ModelSection(name=str(tiny_model_dir)))
    guard = HostGuard(model, lambda: free)
    guard.require(10**9, held=0)  # nothing is known yet
    guard.expect(100 * MB, tokens=1000)

    free = RESERVE + 56 * MB
    guard.require(500, held=0)
    with pytest.raises(MemoryError, match=r"about 66.0 MB more, and 56.0 MB are free"):
        guard.require(600, held=0)
    with pytest.raises(MemoryError, match=r"about 65.0 MB more"):
        guard.require(500, held=0, to_come=10 * MB)


def test_the_guard_learns_from_what_it_has_seen(
    tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peak = 2000 * MB
    monkeypatch.setattr(host_memory, "peak_bytes", lambda device: peak)
    guard = HostGuard(models.open_model(ModelSection(name=str(tiny_model_dir))), lambda: 0)
    resident = 500 * MB
    process = SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=resident))
    monkeypatch.setattr(guard, "_process", process)
    guard.expect(100 * MB, tokens=1000)

    def wanted(tokens: int, **more: int) -> str:
        with pytest.raises(MemoryError) as error:
            guard.require(tokens, **{"held": 0, **more})
        return str(error.value).split(" more")[0].removeprefix("it takes about ")

    assert wanted(1000) == "110.0 MB"
    with guard.measure(2000, held=0):
        pass  # opening the model took more than any step: nothing can be seen
    assert wanted(1000) == "110.0 MB"
    with guard.measure(2000, held=0):
        peak = 2100 * MB
    assert wanted(2000) == "1.8 GB"
    assert wanted(1000) == "880.0 MB"
    assert wanted(3000) == "1.9 GB", "100 MB for another 1000 tokens, as planned"
    # What the allocator has kept is used again; what the optimizer holds is not.
    resident = 1500 * MB
    assert wanted(2000) == "760.0 MB"
    assert wanted(2000, held=300 * MB) == "1.1 GB"
    with pytest.raises(MemoryError), guard.measure(500, held=300 * MB):
        peak = 2500 * MB
        raise MemoryError
    assert wanted(2000, held=300 * MB) == "1.2 GB"
    guard.forget()
    guard.require(10**9, held=0)


def test_the_guard_looks_at_every_layer_and_before_the_logits(tiny_model_dir: Path) -> None:
    free = 10**12
    model = models.open_model(ModelSection(name=str(tiny_model_dir)))
    guard = HostGuard(model, lambda: free)
    ids = torch.ones(1, 10, dtype=torch.int64)

    with guard.watch():
        model(ids)
        words = model.lm_head.weight.shape[0]
        free = RESERVE + 12 * 10 * words - 1
        with pytest.raises(MemoryError, match="of main memory are left"):
            models.logits(model, torch.zeros(1, 10, 64))
        free = RESERVE + 12 * 10 * words
        models.logits(model, torch.zeros(1, 10, 64))
    free = 0
    model(ids)  # outside, nothing is looked at


@pytest.mark.parametrize(
    ("left", "raises"),
    [
        ([RESERVE + MB, RESERVE + MB, RESERVE], False),
        ([RESERVE + MB, RESERVE + MB, RESERVE - 1], True),
        # A layer took 100 MB: as much is asked for the next, and again on the way back.
        ([RESERVE + 240 * MB, RESERVE + 240 * MB, RESERVE + 140 * MB], False),
        ([RESERVE + 140 * MB, RESERVE + 140 * MB, RESERVE + 40 * MB], True),
    ],
)
def test_the_next_layer_must_fit(
    tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch, left: list[int], raises: bool
) -> None:
    monkeypatch.setattr(host_memory, "FASTEST", 10**18)  # each look is good for one layer
    model = models.open_model(ModelSection(name=str(tiny_model_dir)))
    looks = iter(left)
    guard = HostGuard(model, lambda: next(looks))
    ids = torch.ones(1, 10, dtype=torch.int64)

    with guard.watch():
        if raises:
            with pytest.raises(MemoryError, match="of main memory are left"):
                models.hidden_states(model, input_ids=ids)
        else:
            models.hidden_states(model, input_ids=ids)
    assert not list(looks)
