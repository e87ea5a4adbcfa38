"""Rows and weights as the data and train stages would leave them, made without those stages."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from luthier.artifacts import Plan, TrainSummary, save_examples
from luthier.example import Example, Message, Origin, Split, content_id
from luthier.recipe import ModelSection
from luthier.run import Run

INSTRUCTION = "Reply 'True' if the sentence is a promise, 'False' if not."
COLOURS = ["red", "green", "blue", "dark-green"]


def classification_row(i: int) -> Example:
    promise = i % 2 == 0
    text = (
        f"We will paint wall {i} {COLOURS[i % 4]} for street {i * 7 % 31}."
        if promise
        else f"Nobody counted {i} of the {i * 13 % 37} birds last year."
    )
    return Example(
        id=content_id([text]),
        origin=Origin("rows.csv", i + 2),
        fields={"input": text, "output": str(promise), "style": ["plan", "fact", "news"][i % 3]},
        messages=(
            Message("user", f"{INSTRUCTION}\n\nInput: {text}\nOutput:"),
            Message("assistant", str(promise)),
        ),
        label=str(promise),
        template="promise",
    )


def generation_row(i: int) -> Example:
    text = COLOURS[i % 4]
    return Example(
        id=content_id([i, text]),
        origin=Origin("rows.csv", i + 2),
        fields={"input": text, "output": f"a {text} wall"},
        messages=(
            Message("user", f"What did we paint {text}, number {i}?"),
            Message("assistant", f"a {text} wall"),
        ),
        template="plain",
    )


def text_row(i: int) -> Example:
    text = f"The {COLOURS[i % 4]} economy grew in year {i}, and nobody can say why."
    return Example(content_id([text]), Origin("rows.csv", i + 2), {"text": text}, text=text)


def train_fully(model_dir: Path, rows: Sequence[Example], folder: Path, steps: int) -> None:
    """Train the tiny model on some rows, as the train stage does but plainly."""
    import torch
    from transformers import AutoTokenizer

    from luthier import model as models
    from luthier.chat import Renderer

    torch.manual_seed(0)
    model = models.open_model(ModelSection(name=str(model_dir)), trainable=True)
    renderer = Renderer(AutoTokenizer.from_pretrained(model_dir))
    rendered = [renderer.render(row) for row in rows]
    width = max(len(ids) for ids, _ in rendered)
    ids = torch.full((len(rows), width), renderer.pad_id)
    labels = torch.full((len(rows), width), -100)
    for i, (tokens, trained) in enumerate(rendered):
        ids[i, : len(tokens)] = torch.tensor(tokens)
        wanted = [t if mark else -100 for t, mark in zip(tokens, trained, strict=True)]
        labels[i, : len(tokens)] = torch.tensor(wanted)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    models.save_full(model, renderer.tokenizer, folder)


def put_weights(run: Run, weights: Path) -> None:
    """Leave what the plan and train stages leave."""
    Plan(
        device="cpu", precision="float32", decisions=[], findings=[], memory=[], total_bytes=0,
        available_bytes=1, fits=True, trainable_parameters=0, total_parameters=0, train_rows=0,
        batches_per_epoch=0, total_steps=0, tokens_per_epoch=0, seconds=None, schedule=[],
    ).save(run)  # fmt: skip
    shutil.copytree(weights, run.folder("train") / "model")
    TrainSummary(
        kind="full", weights="train/model", base_model=run.recipe.model.name,
        precision="float32", steps=1, epochs=1, best_step=1, best_metric=None,
        stopped_early=False, seconds=1, examples=1, tokens=1, trained_tokens=1,
        peak_bytes=0, trainable_parameters=1, total_parameters=1,
    ).save(run)  # fmt: skip


def put_rows(run: Run, **splits: Sequence[Example]) -> None:
    """Leave what the data stage leaves."""
    for split, rows in splits.items():
        name: Split = split  # type: ignore[assignment]
        marked = [row.but(split=name) for row in rows]
        save_examples(run.folder("data") / f"{name}.parquet", marked)
