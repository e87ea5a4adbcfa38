"""Use a trained run: `luthier.load(run).predict([...])`, and files of any size row by row."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from luthier import model as models
from luthier.artifacts import Evaluation
from luthier.chat import Renderer
from luthier.console import blank_lines_skipped, progress, say
from luthier.data.asked import with_other_names
from luthier.data.files.mapping import mapped
from luthier.data.files.sources import SUFFIXES, open_file, require_file
from luthier.data.files.textfile import Damage, refuse_other_encodings
from luthier.data.rows import MissingColumn, Reject, Row, Table
from luthier.data.templating.template import (
    BuiltTemplates,
    MissingField,
    Skipped,
    Template,
    as_text,
)
from luthier.errors import DataError, LuthierError
from luthier.example import Message
from luthier.generate import answer
from luthier.made_with import MadeWith
from luthier.recipe import Recipe
from luthier.row_file import CHUNK, csv_text, require_free, write_rows
from luthier.run import RUNS, Run
from luthier.scoring import label_scores


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
    recipe: Recipe
    """That of the weights; what the run's folder asks for now may be something else."""
    model: Any
    renderer: Renderer
    template: Template | None
    labels: list[str]
    temperature: float
    """Divides the label log-likelihoods; fitted on the calibration split by `evaluate`."""

    @property
    def column(self) -> str:
        """The input column of the recipe."""
        return self.recipe.data.sources[0].input

    @property
    def columns(self) -> list[str]:
        """Names of the columns that prediction adds to a row."""
        scored = ["confidence", *(f"p:{label}" for label in self.labels)] if self.labels else []
        return ["predicted", *scored]

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
        rows: Sequence[Mapping[str, Any]],
        batch_size: int | None = None,
        *,
        shown: bool = False,
    ) -> list[Prediction]:
        """Answer rows whose fields fill the template (`input` and whatever else it names)."""
        if not rows:
            return []
        recipe = self.recipe
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

    def _prompt(self, fields: Mapping[str, Any]) -> list[Message]:
        if self.template is None:
            return [Message("user", as_text(fields["input"]))]
        source = self.recipe.data.sources[0]
        labels = self.labels or list(source.labels or ())
        given = with_other_names(fields, source)
        if labels:
            given["labels"] = ", ".join(labels)
        try:
            return list(
                self.template.prompt(given, labels=labels, options=self.recipe.data.options)
            )
        except MissingField as error:
            raise DataError(
                f"the template '{self.template.name}' needs the field '{error}', which the input "
                "does not have. Give a file with that column."
            ) from None
        except Skipped as error:
            raise DataError(f"the template '{self.template.name}': {error}.") from None

    def why_not(self, fields: Mapping[str, Any]) -> str | None:
        """Why a row cannot be answered; None when it can."""
        if self.template is None and isinstance(fields["input"], (list, dict)):
            raise DataError("found a conversation, expected the text to answer.")
        names = ("input", self.column)
        asked = self.template is None or any(n in self.template.question_fields for n in names)
        if asked and not as_text(fields["input"]).strip():
            return "empty input"
        tokens = len(self.renderer.prompt(self._prompt(fields))) + self._answer_tokens
        context = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        if context is not None and tokens > context:
            return f"longer than the model's context of {context:,} tokens"
        return None

    @cached_property
    def _answer_tokens(self) -> int:
        if self.labels:
            return max(len(self.renderer.completion((), label)) for label in self.labels)
        return self.recipe.evaluate.generation.max_new_tokens

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
        ModelError: the base model is no longer the one that the run was trained on.
    """
    run = run if isinstance(run, Run) else Run.open(run, runs)
    run.require("train")
    made, found = MadeWith.of(run), Evaluation.load(run) if run.is_done("evaluate") else None
    recipe = made.recipe
    if found is not None and found.settings is not None:  # answers are made as they were measured
        recipe = recipe.model_copy(update={"evaluate": found.settings})
    if recipe.task.kind == "text":
        raise LuthierError(f"{run.path} was trained on plain text; it has no question to answer.")
    calibration = found.calibration if found is not None else None
    templates = BuiltTemplates.of(made).templates
    model, tokenizer = models.trained_model(run)
    return Predictor(
        run=run,
        recipe=recipe,
        model=model,
        renderer=Renderer(tokenizer, recipe.train.train_on),
        # A conversation's question is the user's turn as it is.
        template=templates[0] if templates and recipe.task.kind != "chat" else None,
        labels=recipe.labels,
        temperature=calibration.temperature if calibration else 1.0,
    )


# --- the command -------------------------------------------------------------------------------


class Asked(NamedTuple):
    """A row to be answered."""

    where: str
    """`file:line`."""
    row: dict[str, Any]
    """As it was given; its columns come out again."""
    fields: dict[str, Any]
    """What the template is filled with, under the names it had in training."""


@dataclass(frozen=True)
class Source:
    """What is to be answered."""

    columns: list[str]
    """Of its rows, all of them, in order."""
    total: int
    """Rows; 0: unknown."""
    read: Callable[[], Iterator[Asked]]
    """Reads the rows, from the first one, one at a time."""


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

    Without `out`, predictions go to stdout: a line for a sentence, CSV for more. Whatever can be
    wrong with the source or `out` is found before the model is opened.

    Args:
        run: folder or name of a run.
        source: a sentence, `-`, or a file.
        column: the input column of a file that has columns; None: the recipe's.
        out: a `.csv` or `.jsonl` file, which must not exist.
        runs: where runs are kept.
        as_json: return the predictions rather than print them.

    Raises:
        DataError: no such file or column; a row that cannot be read, with its line.
    """
    opened = Run.open(run, runs)
    opened.require("train")
    if out is not None:
        require_free(out)
        if _is_file(source) and out.resolve() == Path(source).resolve():
            raise DataError(f"--out {out} is the input itself; choose another file.")
    asked = open_asked(source, column, MadeWith.of(opened).recipe.data.sources[0].input)
    predictor = load(opened, runs=runs)
    answering = _Answering(predictor, _new_names(asked.columns, predictor.columns))
    if out is not None:
        count = write_rows(
            out, asked.read(), answering.rows,
            columns=answering.columns,
            about={"weights": opened.digest("train"), "temperature": predictor.temperature},
            key=lambda one: [one.row, one.fields],
            tally=answering.left_out,
            total=asked.total,
        )  # fmt: skip
        answering.say_left_out()
        return {"rows": count, "out": str(out)}
    if source != "-" and not _is_file(source):
        return _print_one(answering, next(asked.read()), as_json)
    rows: list[dict[str, Any]] = []
    count, items = 0, asked.read()
    while chunk := list(islice(items, CHUNK)):
        answered = answering.rows(chunk)
        if as_json:
            rows += answered
        else:
            sys.stdout.write(csv_text(answered, answering.columns, header=count == 0))
            sys.stdout.flush()
        count += len(chunk)
    answering.say_left_out()
    return {"predictions": rows}


def _print_one(answering: _Answering, one: Asked, as_json: bool) -> dict[str, Any]:
    if why := answering.predictor.why_not(one.fields):
        raise DataError(f"{one.where}: {why}.")
    [row] = answering.rows([one])
    if not as_json:
        sure = row.get("confidence")
        print(row["predicted"] + ("" if sure is None else f"  {sure:.3f}"))
    return {"predictions": [row]}


# --- what is asked -----------------------------------------------------------------------------


def open_asked(source: str, column: str | None, usual: str) -> Source:
    """Find what a command's argument stands for, and read it once to know that it can be read.

    Args:
        source: a sentence, `-`, or a file.
        column: the input column asked for.
        usual: the input column otherwise.

    Raises:
        DataError: it is nothing that can be answered; a bad row is named with its line.
    """
    if source == "-" or not _is_file(source):
        if column is not None:
            raise DataError("--column is for files with columns; a sentence and stdin have none.")
        if source == "-":
            first = sys.stdin.buffer.readline()
            if not first:
                raise DataError("standard input is empty.")
            lines = chain([first], sys.stdin.buffer)
            return Source(["input"], 0, lambda: _asked_lines(lines, Damage(None, _STDIN)))
        if any("\ud800" <= c <= "\udfff" for c in source):  # how Python keeps other bytes
            raise DataError("the sentence is not UTF-8 text.")
        if not source.strip():
            raise DataError("the sentence is empty; give some text, a file, or - for stdin.")
        only = Asked("the sentence", {"input": source}, {"input": source})
        return Source(["input"], 1, lambda: iter([only]))
    path = Path(source)
    _require_path(path, source)
    if path.suffix.lower() not in SUFFIXES:
        refuse_other_encodings(path, source)
        if column is not None:
            raise DataError(f"--column: {source} is read as text, one input a line.")
        total = sum(1 for _ in _file_lines(path))
        if total == 0:
            raise DataError(f"{source}: the file is empty.")
        return Source(["input"], total, lambda: _file_lines(path))
    wanted = column or usual
    table = open_file(path, wanted=[wanted])
    if table.columns is not None and wanted not in table.columns:
        raise MissingColumn(source, wanted, table.columns, _CHOOSE)
    columns = dict.fromkeys(table.columns or [])
    total = 0
    for asked in _asked_records(table, wanted):
        total += 1
        columns.update(dict.fromkeys(asked.row))
    if total == 0:
        raise DataError(f"{source}: there are no rows in it.")
    if table.blank_lines:
        say(blank_lines_skipped(source, table.blank_lines), style="yellow")
    return Source(
        list(columns), total, lambda: _asked_records(open_file(path, wanted=[wanted]), wanted)
    )


def _is_file(source: str) -> bool:
    """A path, also one that is not there: one word that looks like a path is no sentence."""
    try:
        if Path(source).exists():
            return True
    except OSError:  # longer than a file's name can be
        return False
    return bool(_LIKE_A_PATH.fullmatch(source))


_LIKE_A_PATH = re.compile(r"\S*[/\\]\S*|\S*\w[)\]]?\.[A-Za-z][A-Za-z0-9]{0,9}")
"""No space, and a separator or an ending: `./rows`, `rows.pdf`; not `Hm...` or `3.14`."""
_STDIN = "standard input"
_CHOOSE = "Choose one with --column."


def _require_path(path: Path, source: str) -> None:
    try:
        require_file(path, source)
    except DataError as error:
        if path.exists() or path.suffix.lower() in SUFFIXES:
            raise
        raise DataError(
            f"{error} If it is no file but the text to answer, give it on standard input (-)."
        ) from None


def _asked_records(table: Table, column: str) -> Iterator[Asked]:
    for record in table.records:
        if isinstance(record, Reject):
            # Leaving it out would shift every row after it: say so and stop.
            raise DataError(f"{record.origin}: {record.reason}. Mend the row and repeat.")
        if column not in record.fields:
            raise MissingColumn(str(record.origin), column, list(record.fields), _CHOOSE)
        renamed = mapped(Table(table.name, iter([record])), {"input": column})
        fields = next(row.fields for row in renamed if isinstance(row, Row))
        fields.setdefault(column, fields["input"])  # templates may name it so
        yield Asked(str(record.origin), record.fields, fields)


def _file_lines(path: Path) -> Iterator[Asked]:
    with open(path, "rb") as file:
        yield from _asked_lines(file, Damage(path, str(path)))


def _asked_lines(lines: Iterable[bytes], damage: Damage) -> Iterator[Asked]:
    """Lines of text; blank ones are answered by blank ones, so that rows keep their places."""
    for number, line in enumerate(lines, 1):
        where = f"{damage.name}:{number}"
        encoding = "utf-8-sig" if number == 1 else "utf-8"
        text = line.decode(encoding, "surrogateescape").strip()
        if reason := damage.reason(text):
            fix = "Mend the line and repeat."
            if damage.path is None and reason.startswith("not UTF-8"):
                fix = "If all of it is in another encoding: iconv -f CP1252 -t UTF-8 before it."
            raise DataError(f"{where}: {reason}. {fix}")
        yield Asked(where, {"input": text}, {"input": text})


# --- what comes out ----------------------------------------------------------------------------


def _new_names(columns: Sequence[str], added: Sequence[str]) -> dict[str, str]:
    """What the columns of the input are called in the output: nobody's `predicted` is lost."""
    names: dict[str, str] = {}
    for column in columns:
        name = column
        while name in added or (name != column and (name in columns or name in names.values())):
            name += "_column"
        if name != column:
            say(f"the input's column '{column}' comes out as '{name}'", style="yellow")
        names[column] = name
    return names


class _Answering:
    """Answers rows, keeps their columns, and counts those that cannot be answered."""

    def __init__(self, predictor: Predictor, names: Mapping[str, str]) -> None:
        self.predictor, self.names = predictor, names
        self.left_out: Counter[str] = Counter()

    @property
    def columns(self) -> list[str]:
        return [*self.names.values(), *self.predictor.columns]

    def rows(self, asked: Sequence[Asked]) -> list[dict[str, Any]]:
        """The rows that come out, one for each that is asked."""
        reasons = [self._why_not(one) for one in asked]
        fit = [one.fields for one, why in zip(asked, reasons, strict=True) if why is None]
        answers = iter(self.predictor.predict_rows(fit))
        nothing: dict[str, Any] = dict.fromkeys(self.predictor.columns)
        return [
            {self.names[column]: value for column, value in one.row.items()}
            | (nothing if why else next(answers).columns())
            for one, why in zip(asked, reasons, strict=True)
        ]

    def _why_not(self, one: Asked) -> str | None:
        try:
            why = self.predictor.why_not(one.fields)
        except DataError as error:
            raise DataError(f"{one.where}: {error}") from None
        if why is not None:
            if why not in self.left_out:
                say(f"{one.where}: {why}; it gets no prediction", style="yellow")
            self.left_out[why] += 1
        return why

    def say_left_out(self) -> None:
        """Say how many rows have no prediction, and why."""
        for why, count in self.left_out.items():
            say(f"rows without a prediction: {count} ({why})", style="yellow")
