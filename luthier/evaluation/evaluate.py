"""`luthier evaluate`: is the tuned model better than what is cheaper, and can it be trusted?"""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from luthier.artifacts import Calibration, Estimate, Evaluation, SystemResult, load_examples
from luthier.console import say
from luthier.errors import DataError, LuthierError, nearest
from luthier.evaluation import notes as remarks
from luthier.evaluation.asking import Asked, Interviewer, Setting
from luthier.evaluation.calibration import calibrate, judge
from luthier.evaluation.compare import compare
from luthier.evaluation.confusion import confusion, label_table
from luthier.evaluation.intervals import estimate
from luthier.evaluation.outcome import Answers, Choices, Metric, Outcome
from luthier.evaluation.predictions import predictions_csv
from luthier.example import Example
from luthier.made_with import recipe_of
from luthier.recipe import Recipe
from luthier.registry import Registry
from luthier.run import RUNS, Run

METRICS = Registry("metric", "luthier.evaluation.metrics")
BASELINES = Registry("baseline", "luthier.evaluation.baselines")
TUNED = "tuned"
MAIN = {
    "classification": "accuracy", "generation": "chrf", "chat": "chrf", "text": "perplexity",
}  # fmt: skip
"""The metric systems are compared on, unless the recipe lists metrics: then its first one."""
USUAL = ("majority", "tfidf", "zero_shot", "few_shot")
"""Baselines that are measured unless the recipe lists some, the cheapest first."""
CALIBRATION_FILE = "evaluate/calibration.json"
SAMPLES = 8
MOST_SLICES = 40
"""Slices beyond the largest 40 are counted in a note."""


def evaluate(run: Run, *, runs: Path = RUNS) -> Evaluation:
    """Measure the tuned model and its baselines on the test split.

    Writes evaluate/metrics.json, calibration.json (what prediction needs) and predictions.csv.

    Args:
        run: a run whose data and train stages have finished.
        runs: where runs are kept, for models named `run:NAME`.

    Raises:
        DataError: there are no test rows; a label or the slice column is unknown.
        LuthierError: an unknown metric or baseline.
    """
    recipe = recipe_of(run)
    test = load_examples(run, "test")
    if not test:
        raise DataError(
            f"{run.path}: the test split has no rows, so nothing can be measured. Set "
            "data.split.test above 0 (now "
            f"{recipe.data.split.test:g}) or give a source with `split: test`, and build again."
        )
    setting = Setting(run, recipe, load_examples(run, "train"), test, runs)
    metrics, notes = metrics_of(recipe)
    baselines, left_out = _baselines(recipe)
    notes += left_out
    field = _sliced_field(recipe.evaluate.slice_by, test, recipe)

    tuned, fit, seconds = _ask_tuned(setting)
    outcomes: dict[str, Outcome] = {TUNED: tuned.outcome}
    systems = [_result(TUNED, tuned, seconds, metrics, recipe, run)]
    for name in baselines:
        asked, seconds, note = _measure(name, setting)
        if asked is None:
            notes.append(note)
            continue
        outcomes[name] = asked.outcome
        systems.append(_result(name, asked, seconds, metrics, recipe, run, against=tuned.outcome))

    calibration, doubts = _calibrate(recipe, fit, tuned.outcome)
    notes += doubts
    main = metrics[0]
    notes += remarks.on_baselines(main, systems)
    notes += remarks.on_rows(main, systems[0].metrics.get(main.name), setting.train, test)
    slices, unshown = _slices(tuned.outcome, test, field, main, recipe)
    notes += remarks.on_intervals(metrics, systems, _of_slices(slices, main)) + unshown
    found = Evaluation(
        task=recipe.task.kind,
        labels=recipe.labels,
        main_metric=main.name,
        rows=len(test),
        systems=systems,
        calibration=calibration,
        slices=slices,
        notes=notes,
        samples=_samples(tuned.outcome, test),
        settings=recipe.evaluate,
    )
    _write(run, found, outcomes, test, field)
    return found


def evaluate_on(
    run: Run,
    examples: Sequence[Example],
    *,
    slice_by: str | None = None,
    columns: Mapping[str, str] | None = None,
    runs: Path = RUNS,
) -> Evaluation:
    """Measure the tuned model on other labelled rows; nothing is written.

    The temperature, if the run has one, is judged on the new rows, not fitted again.

    Args:
        run: a run whose train stage has finished.
        examples: rows made with the recipe's template, as the data stage makes them.
        slice_by: a column of those rows; metrics are also given per value of it.
        columns: what the fields `input` and `output` are called in their file, where that is not
            as the recipe says.
        runs: where runs are kept.

    Raises:
        DataError: there are no rows; a label or the slice column is unknown.
    """
    recipe, examples = recipe_of(run), list(examples)
    if not examples:
        raise DataError("there are no rows to evaluate on.")
    metrics, notes = metrics_of(recipe)
    field = _sliced_field(slice_by, examples, recipe, columns)
    started = time.monotonic()
    outcome = Interviewer.of(run, recipe, runs=runs).ask(examples, "Asking the tuned model")
    asked = Asked(outcome, "the tuned model")
    tuned = _result(TUNED, asked, time.monotonic() - started, metrics, recipe, run)
    main = metrics[0]
    notes += remarks.on_rows(main, tuned.metrics.get(main.name), [], examples)
    slices, unshown = _slices(outcome, examples, field, main, recipe)
    notes += remarks.on_intervals(metrics, [tuned], _of_slices(slices, main))
    fitted = _fitted(run)
    calibration = None
    if fitted is not None and isinstance(outcome, Choices):
        calibration = judge(outcome, fitted.temperature, rows=fitted.rows)
    return Evaluation(
        task=recipe.task.kind,
        labels=recipe.labels,
        main_metric=main.name,
        rows=len(examples),
        systems=[tuned],
        calibration=calibration,
        slices=slices,
        notes=notes + unshown,
        samples=_samples(outcome, examples),
        predictions_file="",
    )


# --- choosing ----------------------------------------------------------------------------------


def metrics_of(recipe: Recipe) -> tuple[list[Metric], list[str]]:
    """The metrics to compute, the main one first, and notes on those that do not fit.

    Raises:
        LuthierError: none fits the task.
    """
    kind, wanted = recipe.task.kind, recipe.evaluate.metrics
    names = wanted if wanted is not None else METRICS.names()
    fitting = [name for name in names if kind in METRICS.load(name).FITS]
    if not fitting:
        known = [name for name in METRICS.names() if kind in METRICS.load(name).FITS]
        raise LuthierError(
            f"evaluate.metrics: none of {', '.join(names) or 'an empty list'} fits a {kind} task. "
            f"Those that do: {', '.join(known)}."
        )
    notes = [
        f"The metric '{name}' does not fit a {kind} task and was left out."
        for name in names
        if wanted is not None and name not in fitting
    ]
    if wanted is None:
        fitting.sort(key=lambda name: name != MAIN[kind])
    return [METRICS.build(name) for name in fitting], notes


def _baselines(recipe: Recipe) -> tuple[list[str], list[str]]:
    """The baselines to measure, and notes on those that do not fit the task."""
    kind, wanted = recipe.task.kind, recipe.evaluate.baselines
    names = list(dict.fromkeys(USUAL if wanted is None else wanted))
    fitting = [name for name in names if kind in BASELINES.load(name).FITS]
    if wanted is None:  # nobody asked for the others
        return fitting, []
    left_out = [name for name in names if name not in fitting]
    if not left_out:
        return fitting, []
    verb = "does" if len(left_out) == 1 else "do"
    noun = "baseline" if len(left_out) == 1 else "baselines"
    return fitting, [
        f"The {noun} {', '.join(left_out)} {verb} not fit a {kind} task and "
        f"{'was' if len(left_out) == 1 else 'were'} left out."
    ]


def _sliced_field(
    column: str | None,
    examples: Sequence[Example],
    recipe: Recipe,
    columns: Mapping[str, str] | None = None,
) -> str | None:
    """The field of the rows that holds a column, which may be called as it is in the file.

    Raises:
        DataError: no row has it; the columns are listed as the file calls them.
    """
    fields = list(dict.fromkeys(name for example in examples for name in example.fields))
    if column is None or column in fields:
        return column
    first = recipe.data.sources[0]
    own = {"input": first.input, "output": first.output, "text": first.text,
           "messages": first.messages, **(columns or {})}  # fmt: skip
    for field in fields:
        if own.get(field) == column:
            return field
    known = sorted({own.get(name, name) for name in fields})
    raise DataError(
        f"slice_by: no row has a column '{column}'.{nearest(column, known)} "
        f"Columns: {', '.join(known) or 'none'}."
    )


# --- measuring ---------------------------------------------------------------------------------


def _ask_tuned(setting: Setting) -> tuple[Asked, Choices | None, float]:
    """What the tuned model says about the test split, and (labels) about the calibration split."""
    recipe = setting.recipe
    interviewer = Interviewer.of(setting.run, recipe, runs=setting.runs)
    started = time.monotonic()
    outcome = interviewer.ask(setting.test, "Asking the tuned model")
    seconds = time.monotonic() - started
    fit = None
    if recipe.evaluate.calibrate and isinstance(outcome, Choices):
        rows = load_examples(setting.run, "calibration")
        if rows:
            answered = interviewer.ask(rows, "Calibrating")
            assert isinstance(answered, Choices)
            fit = answered
    # The base model is opened next; two models at once may not fit.
    del interviewer
    gc.collect()
    return Asked(outcome, "the tuned model"), fit, seconds


def _measure(name: str, setting: Setting) -> tuple[Asked | None, float, str]:
    """A baseline's outcome, or why it cannot be had."""
    started = time.monotonic()
    try:
        asked: Asked = BASELINES.load(name).measure(setting)
    except DataError as error:
        note = f"The baseline '{name}' could not be measured: {str(error).rstrip('.')}."
        say(note, style="yellow")
        return None, 0.0, note
    return asked, time.monotonic() - started, ""


def _result(
    name: str,
    asked: Asked,
    seconds: float,
    metrics: Sequence[Metric],
    recipe: Recipe,
    run: Run,
    *,
    against: Outcome | None = None,
) -> SystemResult:
    """All figures of one system; `against` is the tuned model's outcome, for the difference."""
    samples, seed = recipe.evaluate.bootstrap_samples, recipe.seed
    outcome = asked.outcome
    values: dict[str, Estimate] = {}
    for metric in metrics:
        value = estimate(metric, outcome, samples=samples, seed=seed)
        if value is not None:
            values[metric.name] = value
    difference = p_value = None
    if against is not None:
        difference, p_value = compare(metrics[0], against, outcome, samples=samples, seed=seed)
    labelled = isinstance(outcome, Choices)
    result = SystemResult(
        name=name,
        describe=asked.describe,
        metrics=values,
        labels=label_table(outcome) if isinstance(outcome, Choices) else {},
        confusion=confusion(outcome).tolist() if labelled else None,  # type: ignore[arg-type]
        seconds=round(seconds, 3),
        difference=difference,
        p_value=p_value,
    )
    shown = {metric: round(value.value, 4) for metric, value in values.items()}
    run.event("system_measured", name=name, seconds=result.seconds, metrics=shown)
    return result


def _calibrate(
    recipe: Recipe, fit: Choices | None, tuned: Outcome
) -> tuple[Calibration | None, list[str]]:
    if not recipe.evaluate.calibrate or not isinstance(tuned, Choices):
        return None, []
    if fit is None:
        return None, [
            "There is no calibration split, so confidences are as the model gives them. Set "
            "data.split.calibration above 0."
        ]
    calibration = calibrate(fit, tuned)
    return calibration, remarks.on_calibration(calibration)


def _fitted(run: Run) -> Calibration | None:
    return Evaluation.load(run).calibration if run.is_done("evaluate") else None


def _slices(
    outcome: Outcome, examples: Sequence[Example], column: str | None, main: Metric, recipe: Recipe
) -> tuple[dict[str, dict[str, Estimate]], list[str]]:
    """Main metric and row count of the tuned model per value of a column, largest slice first."""
    if column is None:
        return {}, []
    members: dict[str, list[int]] = {}
    for row, example in enumerate(examples):
        value = example.fields.get(column)
        members.setdefault("(none)" if value in (None, "") else str(value), []).append(row)
    ordered = sorted(members, key=lambda value: (-len(members[value]), value))
    found: dict[str, dict[str, Estimate]] = {}
    for value in ordered[:MOST_SLICES]:
        rows = np.array(members[value])
        figures = {"rows": Estimate(value=len(rows))}
        figure = estimate(
            main, outcome.take(rows), samples=recipe.evaluate.bootstrap_samples, seed=recipe.seed
        )
        if figure is not None:
            figures[main.name] = figure
        found[value] = figures
    if len(ordered) <= MOST_SLICES:
        return found, []
    rest = ordered[MOST_SLICES:]
    return found, [
        f"'{column}' has {len(ordered)} values; the {MOST_SLICES} largest are shown, "
        f"{sum(len(members[value]) for value in rest)} rows of {len(rest)} others are not."
    ]


def _of_slices(slices: Mapping[str, Mapping[str, Estimate]], main: Metric) -> list[Estimate]:
    return [figures[main.name] for figures in slices.values() if main.name in figures]


# --- keeping -----------------------------------------------------------------------------------


def _samples(outcome: Outcome, examples: Sequence[Example]) -> list[dict[str, str]]:
    if not isinstance(outcome, Answers) or outcome.answers is None:
        return []
    return [
        {
            "prompt": "\n\n".join(message.content for message in example.prompt),
            "expected": example.completion,
            "answer": answer,
        }
        for example, answer in list(zip(examples, outcome.answers, strict=True))[:SAMPLES]
    ]


def _write(
    run: Run,
    found: Evaluation,
    outcomes: dict[str, Outcome],
    test: Sequence[Example],
    sliced_field: str | None,
) -> None:
    temperature = found.calibration.temperature if found.calibration else 1.0
    table = predictions_csv(
        test, outcomes, temperature=temperature, slice_by=run.recipe.evaluate.slice_by,
        slice_field=sliced_field,
    )  # fmt: skip
    run.write_text(found.predictions_file, table)
    if isinstance(outcomes[TUNED], Choices):
        run.write_json(CALIBRATION_FILE, {"temperature": temperature, "labels": found.labels})
    found.save(run)
    run.event("evaluated", rows=found.rows, main_metric=found.main_metric, notes=found.notes)
