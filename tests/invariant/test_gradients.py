"""Runs that must agree do: 1x8 = 8x1 = packed = padded = end to end with shared prefixes; fp32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from luthier import model as models
from luthier.artifacts import Plan, load_examples
from luthier.chat import Renderer
from luthier.run import Run
from luthier.training import batches
from luthier.training import trainer as job
from luthier.training.train import _class_smoothing

Gradients = dict[str, torch.Tensor]


def first_step(
    run: Run,
    lines: list[batches.BatchPlan],
    *,
    padded: bool = False,
    end_to_end: bool = True,
    **settings: Any,
) -> tuple[float, Gradients]:
    """Loss and gradients of one optimizer step over given micro-batches, from the same weights."""
    recipe = run.recipe
    renderer = Renderer(models.open_tokenizer(recipe.model), recipe.train.train_on)
    examples = load_examples(run, "train")
    train = recipe.train.model_copy(update=settings)
    smoothing = _class_smoothing(train, recipe.labels, examples, renderer)
    items = batches.prepare(examples, renderer, smoothing=smoothing)
    torch.manual_seed(0)
    model = models.open_model(recipe.model, trainable=train.lora is None)
    if train.lora is not None:
        model = models.attach_adapter(model, train.lora)
        for name, parameter in model.named_parameters():
            # Fresh adapters are zero in B, which would hide the gradient of A.
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.02)
    trainer = job.Trainer(run, train, Plan.load(run), model, renderer, items, seed=0)
    assert trainer.end_to_end == end_to_end
    if end_to_end:
        assert trainer.prefixes is not None and trainer.prefixes.lengths[0] > 8
    if padded:
        trainer.prefixes = None
    loss = trainer.gradients([trainer._collate(plan) for plan in lines])
    named = trainer.model.named_parameters()
    return loss, {n: p.grad.clone() for n, p in named if p.grad is not None}


def assert_equal(one: tuple[float, Gradients], two: tuple[float, Gradients]) -> None:
    assert one[0] == pytest.approx(two[0], rel=1e-5)
    assert one[1].keys() == two[1].keys() and one[1]
    for name, gradient in one[1].items():
        scale = gradient.abs().max()
        assert scale > 0, name
        assert (gradient - two[1][name]).abs().max() <= 1e-5 * scale, name


EIGHT = [[i] for i in range(8)]
SETTINGS: list[dict[str, Any]] = [
    {},
    {"label_smoothing_factor": 0.1},
    {"label_smoothing_factor": 0.1, "label_smoothing_over": "classes"},
    {"lora": None},
]


@pytest.fixture
def run(ready_run: Callable[..., Run]) -> Run:
    return ready_run(train={"max_seq_length": 1024})


@pytest.mark.parametrize("settings", SETTINGS, ids=["plain", "vocabulary", "classes", "full"])
def test_one_batch_of_eight_is_eight_of_one(run: Run, settings: dict[str, Any]) -> None:
    whole = first_step(run, [EIGHT], **settings)

    assert_equal(whole, first_step(run, [[line] for line in EIGHT], **settings))
    assert_equal(whole, first_step(run, [EIGHT[:5], EIGHT[5:]], **settings))


@pytest.mark.parametrize("settings", SETTINGS, ids=["plain", "vocabulary", "classes", "full"])
def test_packed_is_padded(run: Run, settings: dict[str, Any]) -> None:
    whole = first_step(run, [EIGHT], padded=True, **settings)
    lines = [[0, 1, 2], [3], [4, 5], [6, 7]]
    packed = {"packing": True, **settings}

    assert_equal(whole, first_step(run, [lines], padded=True, **packed))
    assert_equal(whole, first_step(run, [[[7, 0, 3, 1, 2, 6, 5, 4]]], padded=True, **packed))
    assert_equal(whole, first_step(run, [lines], **packed))


def test_packed_rows_stay_apart_where_windows_slide(
    ready_run: Callable[..., Run], sliding_model_dir: Path
) -> None:
    run = ready_run(model=str(sliding_model_dir), train={"max_seq_length": 1024})
    whole = first_step(run, [EIGHT], end_to_end=False)
    lines = [[0, 1, 2], [3], [4, 5], [6, 7]]

    assert_equal(whole, first_step(run, [lines], end_to_end=False, packing=True))


@pytest.mark.parametrize("train_on", ["completion", "all"])
def test_class_smoothing_finds_the_label(run: Run, train_on: str) -> None:
    examples = load_examples(run, "train")
    renderer = Renderer(models.open_tokenizer(run.recipe.model), train_on)
    train = run.recipe.train.model_copy(
        update={"label_smoothing_factor": 0.1, "label_smoothing_over": "classes"}
    )
    smoothing = _class_smoothing(train, run.recipe.labels, examples, renderer)

    for item, example in zip(
        batches.prepare(examples, renderer, smoothing=smoothing), examples, strict=True
    ):
        label = renderer.completion(example.prompt, str(example.label))
        start = len(item.ids) - len(label) - 1
        for position, (ids, probabilities) in item.soft.items():
            assert position >= start and item.ids[position] in ids
            assert probabilities[ids.index(item.ids[position])] == pytest.approx(0.95)
        assert item.soft


@pytest.mark.parametrize("settings", SETTINGS, ids=["plain", "vocabulary", "classes", "full"])
def test_a_shared_prefix_changes_nothing(run: Run, settings: dict[str, Any]) -> None:
    whole = first_step(run, [EIGHT], padded=True, **settings)

    assert_equal(whole, first_step(run, [EIGHT], **settings))
    assert_equal(whole, first_step(run, [EIGHT], gradient_checkpointing=True, **settings))


def test_gradient_checkpointing_changes_nothing(run: Run) -> None:
    padded = first_step(run, [EIGHT], padded=True)

    assert_equal(padded, first_step(run, [EIGHT], padded=True, gradient_checkpointing=True))


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_the_loss_is_hugging_faces(run: Run, epsilon: float) -> None:
    """Against straight reference code: full logits, shifted labels, LabelSmoother's formula."""
    recipe = run.recipe
    renderer = Renderer(models.open_tokenizer(recipe.model))
    rows = [renderer.render(e) for e in load_examples(run, "train")[:8]]
    model = models.open_model(recipe.model, trainable=True)
    nll, smooth, count = 0.0, 0.0, 0
    with torch.no_grad():
        for row in rows:
            logits = model(torch.tensor([row.input_ids])).logits[0, :-1]
            log_p = F.log_softmax(logits.float(), -1)
            for position in range(1, len(row.input_ids)):
                if row.trained[position]:
                    nll -= float(log_p[position - 1, row.input_ids[position]])
                    smooth -= float(log_p[position - 1].mean())
                    count += 1
    expected = ((1 - epsilon) * nll + epsilon * smooth) / count

    loss, _ = first_step(run, [EIGHT], lora=None, label_smoothing_factor=epsilon)

    assert loss == pytest.approx(expected, rel=1e-5)


def test_long_completions_are_summed_in_chunks(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = first_step(run, [EIGHT])

    monkeypatch.setattr("luthier.chunked_loss.CHUNK", 3)

    assert_equal(whole, first_step(run, [EIGHT]))
