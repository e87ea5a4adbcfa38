"""The shipping job: `ship(run)` exports what a run trained and proves that each export is it.

Every export is opened again and asked the same questions as the trained model, both in fp32; an
export whose answers differ is deleted and the command says no.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from luthier import model as models
from luthier import seq2seq
from luthier.artifacts import TrainSummary, load_examples
from luthier.atomic import STAGED
from luthier.chat import Renderer
from luthier.console import say, size
from luthier.errors import CheckFailed
from luthier.example import Example
from luthier.made_with import MadeWith, base_of, recipe_of
from luthier.recipe import ModelSection
from luthier.registry import Registry
from luthier.run import RUNS, Run
from luthier.shipping.card import model_card

EXPORTERS = Registry("exporter", "luthier.shipping.exporters")
QUESTIONS = 8
"""Rows asked of the trained and of the exported model."""
TOLERANCE = 1e-3
"""Largest difference of a log-probability, in nats: merging reorders sums in fp32, no more."""


def ship(run: Run, *, runs: Path = RUNS) -> list[Path]:
    """Export, reload, compare, and write a model card beside each export.

    Args:
        run: a run whose training has finished.
        runs: where `model: run:NAME` is looked up.

    Returns:
        The folders made, in the order of the recipe's exporters.

    Raises:
        CheckFailed: an export does not answer as the trained model does.
        ModelError: the base model is no longer the one that the run was trained on.
    """
    recipe = recipe_of(run)
    rows = _questions(run)
    tokenizer = models.open_tokenizer(base_of(run, runs), runs)
    asked = _tokens(tokenizer, run, rows)
    expected = _answers(_trained_in_fp32(run, runs), asked)
    folders = []
    for name in dict.fromkeys(recipe.exporters):
        exporter = EXPORTERS.load(name)
        folder = run.folder("ship") / name
        with _whole(folder) as staged:
            exporter.export(run, staged, runs)
            _require_same_tokens(staged, run, rows, asked, tokenizer.is_encoder_decoder)
            answers = _answers(exporter.reload(run, staged, runs), asked)
            gap = float((answers - expected).abs().max())
            run.event("export", exporter=name, largest_difference=gap)
            if not gap <= TOLERANCE:
                raise CheckFailed(
                    f"the {name} export answers differently from the trained model "
                    f"(log-probabilities differ by up to {gap:.2g} nats, allowed {TOLERANCE:g}); "
                    "it was deleted."
                )
            card = model_card(run, exporter, has_encoder=tokenizer.is_encoder_decoder)
            (staged / "README.md").write_text(card, encoding="utf-8")
        written = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
        say(f"{name}: {folder} ({size(written)}), reloaded: same answers within {gap:.1e} nats")
        folders.append(folder)
    return folders


@contextlib.contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """Hand out a folder that takes its name once all is in it, and goes if anything fails."""
    staged = folder.with_name(folder.name + STAGED)
    try:
        yield staged
        os.replace(staged, folder)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise


def _tokens(tokenizer: Any, run: Run, rows: Sequence[Example]) -> list[list[int]]:
    renderer = Renderer(tokenizer, MadeWith.of(run).recipe.train.train_on)
    return [
        renderer.prompt(row.prompt) if row.messages else renderer.render(row).input_ids
        for row in rows
    ]


def _require_same_tokens(
    folder: Path,
    run: Run,
    rows: Sequence[Example],
    asked: Sequence[Sequence[int]],
    has_encoder: bool,
) -> None:
    """The template travels with the weights: a model asked in another format knows nothing."""
    if not (folder / "tokenizer_config.json").is_file():
        return
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.is_encoder_decoder = has_encoder
    if _tokens(tokenizer, run, rows) != asked:
        raise CheckFailed(
            f"the tokenizer of the {folder.stem} export makes other tokens of the test rows than "
            "the one it was trained with; the export was deleted."
        )


def _questions(run: Run) -> list[Example]:
    for split in ("test", "validation", "train"):
        rows = load_examples(run, split)
        if rows:
            return rows[:QUESTIONS]
    raise AssertionError("a run that was trained has training rows")


def _trained_in_fp32(run: Run, runs: Path) -> Any:
    """What was trained, on its base in full precision: what an export is a copy of."""
    summary = TrainSummary.load(run)
    weights = run.path / summary.weights
    if summary.kind == "full":
        return models.open_model(ModelSection(name=str(weights.resolve())))
    return models.open_model(base_of(run, runs), runs=runs, adapter=weights)


def _answers(model: Any, asked: Sequence[Sequence[int]]) -> torch.Tensor:
    """Log-probabilities of the next token after each question: (questions, vocabulary) float32."""
    with torch.inference_mode():
        last = [_state(model, question) for question in asked]
        return models.logits(model, torch.stack(last)).float().log_softmax(-1).cpu()


def _state(model: Any, question: Sequence[int]) -> torch.Tensor:
    """What predicts the first token of an answer: (hidden,)."""
    if seq2seq.has_encoder(model):
        return seq2seq.Answering(model, [question], pad_id=0).states([[]])[0, -1]
    return models.hidden_states(model, input_ids=torch.tensor([question]))[0, -1]
