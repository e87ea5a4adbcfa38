"""Use a trained run: `luthier.load(run).predict([...])`, and files of any size row by row."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from luthier import model as models
from luthier.artifacts import Evaluation
from luthier.chat import Renderer
from luthier.console import progress, say
from luthier.data.rows import Reject, Row, missing_column
from luthier.data.sources import SUFFIXES, open_file, require_file
from luthier.data.template import MissingField, Template, as_text, load_template
from luthier.errors import DataError, LuthierError
from luthier.example import Message
from luthier.generate import answer
from luthier.run import RUNS, Run, atomic_write
from luthier.scoring import label_scores

CHUNK = 256
"""Rows predicted at a time: what is held in memory, and lost at most when killed."""


class Prediction(NamedTuple):
    """One answer."""

    predicted: str
    """The label, or the generated text."""
    confidence: float | None
    """Probability of the label, calibrated where the run was evaluated; None for text."""
    probabilities: dict[str, float]
    """The same for every label; empty for generated text."""

    def columns(self) -> dict[str, Any]:
        """The columns that prediction adds to a row."""
        added: dict[str, Any] = {"predicted": self.predicted}
        if self.confidence is not None:
            added["confidence"] = round(self.confidence, 6)
        return added | {f"p:{label}": round(p, 6) for label, p in self.probabilities.items()}


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

    @property
    def column(self) -> str:
        """The input column of the recipe."""
        return self.run.recipe.data.sources[0].input

    def predict(
        self, inputs: Sequence[str], *, batch_size: int | None = None, shown: bool = False
    ) -> list[Prediction]:
        """Answer each input.

        Args:
            inputs: texts, one per prediction.
            batch_size: rows a forward pass takes; None: the recipe's evaluation batch size.
            shown: show progress.
        """
        if isinstance(inputs, str):
            raise TypeError("predict takes a list of texts; wrap a single one: predict([text])")
        return self.predict_rows([{"input": text} for text in inputs], batch_size, shown=shown)

    def predict_rows(
        self,
        rows: Sequence[dict[str, Any]],
        batch_size: int | None = None,
        *,
        shown: bool = False,
    ) -> list[Prediction]:
        """Answer rows whose fields fill the template (`input` and whatever else it names)."""
        if not rows:
            return []
        recipe = self.run.recipe
        self.model.eval()
        size = batch_size or recipe.train.per_device_eval_batch_size
        prompts = [self._prompt(fields) for fields in rows]
        with progress("Predicting", len(rows), shown=shown) as advance:
            if self.labels:
                scores = label_scores(
                    self.model, self.renderer, prompts, self.labels, size, progress=advance
                )
                return [self._prediction(row) for row in scores / self.temperature]
            answers = answer(
                self.model,
                self.renderer,
                [self.renderer.prompt(prompt) for prompt in prompts],
                recipe.evaluate.generation,
                recipe.seed,
                batch_size=size,
                progress=advance,
            )
            return [Prediction(text, None, {}) for text in answers]

    def _prompt(self, fields: dict[str, Any]) -> list[Message]:
        if self.template is None:
            return [Message("user", as_text(fields["input"]))]
        try:
            return self.template.prompt({"labels": ", ".join(self.labels), **fields})
        except MissingField as error:
            raise DataError(
                f"the template '{self.template.name}' needs the field '{error}', which the input "
                "does not have. Give a file with that column."
            ) from None

    def _prediction(self, scores: np.ndarray) -> Prediction:
        p = np.exp(scores - scores.max())
        p /= p.sum()
        best = int(p.argmax())
        by_label = {label: float(value) for label, value in zip(self.labels, p, strict=True)}
        return Prediction(self.labels[best], float(p[best]), by_label)


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
    calibration = Evaluation.load(run).calibration if run.is_done("evaluate") else None
    template = None
    if recipe.task.kind != "chat":
        template = load_template(recipe.data.templates[0], run.data_root)
    model, tokenizer = models.trained_model(run)
    return Predictor(
        run=run,
        model=model,
        renderer=Renderer(tokenizer, recipe.train.train_on),
        template=template,
        labels=recipe.labels,
        temperature=calibration.temperature if calibration else 1.0,
    )


# --- the command -------------------------------------------------------------------------------

Asked = tuple[dict[str, Any], str]
"""A row as it was given (its columns come out again) and the text to answer."""


def predict_source(
    run: str,
    source: str,
    *,
    column: str | None = None,
    out: Path | None = None,
    runs: Path = RUNS,
    as_json: bool = False,
) -> dict[str, Any]:
    """What `luthier predict` does: a sentence, standard input (`-`), or a file.

    Without `out`, predictions go to stdout: a line for a sentence, CSV for more.

    Raises:
        DataError: no such file or column; a row that cannot be read, with its line.
    """
    if out is not None and out.suffix not in (".csv", ".jsonl"):
        raise DataError(f"--out {out}: unknown ending; expected .csv or .jsonl.")
    predictor = load(run, runs=runs)
    path = Path(source)
    total = 1
    if source == "-":
        asked, total = _asked_lines(sys.stdin, "standard input"), 0
    elif path.is_file() or _names_a_file(source):
        asked, total = _asked_in_file(path, column or predictor.column)
    elif source.strip():
        asked = iter([({"input": source}, source)])
    else:
        raise DataError("the sentence is empty; give some text, a file, or - for stdin.")
    if out is not None:
        if path.is_file() and out.resolve() == path.resolve():
            raise DataError(f"--out {out} is the input itself; choose another file.")
        return {"rows": _resumably(predictor, asked, out, source, total), "out": str(out)}
    if as_json:
        rows = list(asked)
        answers = _answers(predictor, rows)
        return {"predictions": [row | a.columns() for (row, _), a in zip(rows, answers, strict=True)]}
    if total == 1 and not path.is_file():
        only = _answers(predictor, list(asked))[0]
        sure = "" if only.confidence is None else f"  {only.confidence:.3f}"
        print(f"{only.predicted}{sure}")
        return {"rows": 1}
    return {"rows": sum(_append(predictor, asked, sys.stdout, ".csv", header=True))}


def _names_a_file(source: str) -> bool:
    """A path that is not there, rather than a sentence: one word with a known ending."""
    return not any(c.isspace() for c in source) and Path(source).suffix in (*SUFFIXES, ".txt")


def _asked_in_file(source: Path, column: str) -> tuple[Iterator[Asked], int]:
    """Rows of a file, streamed, and how many there are."""
    if source.suffix.lower() not in SUFFIXES:
        require_file(source, str(source))
        total = sum(1 for _ in _asked_lines(_text_lines(source), str(source)))
        return _asked_lines(_text_lines(source), str(source)), total
    table = open_file(source, wanted=[column])
    if table.columns is not None and column not in table.columns:
        raise _no_column(source, column, table.columns)
    total = sum(1 for _ in open_file(source, wanted=[column]).records)
    return _asked_records(table.records, source, column), total


def _asked_records(
    records: Iterable[Row | Reject], source: Path, column: str
) -> Iterator[Asked]:
    for record in records:
        if isinstance(record, Reject):
            # Leaving it out would shift every row after it: say so and stop.
            raise DataError(f"{record.origin}: {record.reason}. Mend the row and repeat.")
        if column not in record.fields:
            raise _no_column(source, column, list(record.fields))
        yield record.fields, as_text(record.fields[column])


def _no_column(source: Path, column: str, columns: list[str]) -> DataError:
    said = str(missing_column(str(source), column, columns))
    return DataError(said.partition(" Name the right one")[0] + " Choose one with --column.")


def _asked_lines(lines: Iterable[str], name: str) -> Iterator[Asked]:
    try:
        for line in lines:
            if line.strip():
                yield {"input": line.strip()}, line.strip()
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: not UTF-8 text ({error.reason}). Convert it first.") from None


def _text_lines(source: Path) -> Iterator[str]:
    with open(source, encoding="utf-8-sig") as file:
        yield from file


def _answers(predictor: Predictor, asked: Sequence[Asked]) -> list[Prediction]:
    return predictor.predict_rows([{**row, "input": text} for row, text in asked])


def _append(
    predictor: Predictor, asked: Iterator[Asked], file: TextIO, suffix: str, *, header: bool
) -> Iterator[int]:
    """Predict and append a chunk at a time; yields the rows of each chunk once they are out."""
    while chunk := list(islice(asked, CHUNK)):
        answers = _answers(predictor, chunk)
        rows = [row | a.columns() for (row, _), a in zip(chunk, answers, strict=True)]
        if suffix == ".jsonl":
            file.writelines(json.dumps(r, ensure_ascii=False, default=str) + "\n" for r in rows)
        else:
            writer = csv.DictWriter(file, list(rows[0]), extrasaction="ignore", restval="")
            if header:
                writer.writeheader()
                header = False
            writer.writerows(rows)
        file.flush()
        yield len(chunk)


def _resumably(
    predictor: Predictor, asked: Iterator[Asked], out: Path, source: str, total: int
) -> int:
    """Write to a file so that a repeated command goes on where a killed one was.

    How far it got stands in a small file beside the output: rows, and the byte they end at.
    """
    mark = out.with_name(out.name + ".progress")
    about = {"source": source, "run": predictor.run.digest("train")}
    done = offset = 0
    if mark.is_file() and out.is_file():
        state = json.loads(mark.read_text(encoding="utf-8"))
        if state["about"] != about:
            raise DataError(f"{out} was begun with another input or model; delete it first.")
        done, offset = state["rows"], state["offset"]
        say(f"{out} holds {done} rows already; going on after them")
    elif out.exists():
        raise DataError(f"{out} exists already; delete it or choose another --out.")
    with open(out, "a+b") as raw, progress("Predicting", total, "rows") as advance:
        raw.truncate(offset)  # rows of a chunk that a kill tore
        file = io.TextIOWrapper(raw, encoding="utf-8", newline="", write_through=True)
        advance(done)
        rest = islice(asked, done, None)
        for written in _append(predictor, rest, file, out.suffix, header=not done):
            done += written
            os.fsync(raw.fileno())
            state = {"about": about, "rows": done, "offset": raw.seek(0, os.SEEK_END)}
            with atomic_write(mark) as note:
                note.write(json.dumps(state).encode())
            advance(written)
    mark.unlink(missing_ok=True)
    return done
