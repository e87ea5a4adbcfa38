"""Use a trained run: `luthier.load(run).predict([...])`, and files of any size row by row."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from luthier import model as models
from luthier.artifacts import Evaluation, load_examples
from luthier.chat import Renderer
from luthier.console import progress
from luthier.errors import DataError, LuthierError, RunError, nearest
from luthier.example import Message
from luthier.generate import answer
from luthier.rows import Row, count_rows, read_rows
from luthier.run import RUNS, Run
from luthier.scoring import label_scores
from luthier.template import Template, load_template

CHUNK = 256
"""Rows predicted at a time: what is held in memory, and lost at most when killed."""


class Prediction(NamedTuple):
    """One answer."""

    predicted: str
    """The label, or the generated text."""
    confidence: float | None
    """Calibrated probability of the label; None for generated text."""
    probabilities: dict[str, float]
    """Calibrated probability of every label; empty for generated text."""


def load(run: str | Path | Run, *, runs: Path = RUNS) -> Predictor:
    """Open the model a run trained, ready to predict.

    Args:
        run: folder or name of a run whose training has finished.
        runs: where runs are kept, when `run` is a name.

    Raises:
        RunError: no such run, or it has not been trained.
    """
    run = run if isinstance(run, Run) else Run.open(run, runs)
    run.require("train")
    recipe = run.recipe
    if recipe.task.kind == "text":
        raise LuthierError(f"{run.path} was trained on plain text; it has no question to answer.")
    model, tokenizer = models.trained_model(run, runs=runs)
    temperature = 1.0
    if run.is_done("evaluate"):
        calibration = Evaluation.load(run).calibration
        temperature = calibration.temperature if calibration else 1.0
    template = None
    if recipe.task.kind != "chat":
        template = load_template(recipe.data.templates[0], run.data_root)
    return Predictor(
        run=run,
        model=model,
        renderer=Renderer(tokenizer, recipe.train.train_on),
        template=template,
        labels=recipe.labels,
        temperature=temperature,
    )


@dataclass(frozen=True)
class Predictor:
    """A trained model with its template, labels and temperature."""

    run: Run
    model: Any
    renderer: Renderer
    template: Template | None
    labels: list[str]
    temperature: float
    """Divides the label log-likelihoods; fitted on the calibration split by `evaluate`."""

    def predict(
        self, inputs: Sequence[str], *, batch_size: int | None = None, shown: bool = False
    ) -> list[Prediction]:
        """Answer each input.

        Args:
            inputs: texts, one per prediction.
            batch_size: rows a forward pass takes; None: the recipe's evaluation batch size.
            shown: show progress.
        """
        if not inputs:
            return []
        recipe = self.run.recipe
        size = batch_size or recipe.train.per_device_eval_batch_size
        prompts = [self._prompt(text) for text in inputs]
        if self.labels:
            with progress("Predicting", len(inputs), shown=shown) as advance:
                scores = label_scores(
                    self.model, self.renderer, prompts, self.labels, size, progress=advance
                )
            return [self._prediction(row) for row in scores / self.temperature]
        ids = [self.renderer.prompt(prompt) for prompt in prompts]
        answers = answer(
            self.model, self.renderer, ids, recipe.evaluate.generation, recipe.seed, batch_size=size
        )
        return [Prediction(text, None, {}) for text in answers]

    def _prompt(self, text: str) -> list[Message]:
        if self.template is None:
            return [Message("user", text)]
        return self.template.prompt({"input": text, "labels": ", ".join(self.labels)})

    def _prediction(self, scores: np.ndarray) -> Prediction:
        p = np.exp(scores - scores.max())
        p /= p.sum()
        best = int(p.argmax())
        by_label = {label: float(value) for label, value in zip(self.labels, p, strict=True)}
        return Prediction(self.labels[best], float(p[best]), by_label)


def predict_file(
    predictor: Predictor, source: Path, out: Path, *, column: str | None = None
) -> int:
    """Predict every row of a file into another, a chunk at a time.

    Repeating the command after a kill goes on where the output ends: complete lines are kept, a
    torn last one is cut off.

    Args:
        predictor: the model.
        source: CSV, TSV, JSONL, JSON, Parquet, or text with one input a line.
        out: `.csv` or `.jsonl`; input columns plus `predicted`, `confidence`, `p:LABEL`.
        column: the input column; None: the recipe's input column, or the only one.

    Returns:
        Rows written in all.

    Raises:
        DataError: no such column; a row that cannot be read, with its line.
    """
    if out.resolve() == source.resolve():
        raise DataError(f"--out {out} is the input itself; choose another file.")
    total = count_rows(source)
    done = _rows_done(out)
    rows = read_rows(source)
    first = next(rows, None)
    if first is None:
        raise DataError(f"{source}: no rows.")
    name = _input_column(predictor, first, source, column)
    with _appending(out) as file, progress("Predicting", total) as advance:
        advance(done)
        writer = _Writer(file, out.suffix, header=done == 0)
        rest = _skip(_chain(first, rows), done)
        for chunk in _chunks(rest):
            texts = [_text_of(row, name) for row in chunk]
            predictions = predictor.predict(texts)
            writer.write(
                [_merged(row, p) for row, p in zip(chunk, predictions, strict=True)]
            )
            done += len(chunk)
            advance(len(chunk))
    return done
