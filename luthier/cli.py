"""The commands: parse, call one function, print.

Every command: `--json` prints one JSON object on stdout and everything else goes to stderr; exit
0 done, 1 a check said no, 2 the user must fix something, 70 a mistake of luthier's own (with its
traceback), 130 stopped by Ctrl-C. Nothing heavy is imported before a command needs it, so that
`--help` is instant.
"""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from luthier import __version__, cli_data
from luthier.arguments import (
    RUNS,
    Force,
    InputColumn,
    Json,
    Nproc,
    OutputColumn,
    Overrides,
    RecipeArg,
    RunArg,
    Runs,
)
from luthier.evidence.command import compare_data
from luthier.exits import Result, SaidNo, guarded, print_json


class _Commands(typer.core.TyperGroup):
    """All commands; says what is wrong with a command line as JSON too, if asked to."""

    def main(self, args: Any = None, *more: Any, **options: Any) -> Any:
        try:
            return super().main(args, *more, **options)
        except SystemExit as stop:
            # Typer has printed its complaint and left; what it left with is the context.
            explain = getattr(stop.__context__, "format_message", None)
            given = sys.argv[1:] if args is None else args
            if explain and any(arg.partition("=")[0] == "--json" for arg in given):
                print_json({"error": explain(), "kind": "UsageError"})
            raise


app = typer.Typer(
    name="luthier",
    cls=_Commands,
    help="""Adapt an LLM to a task, and prove that it did.

\b
  luthier new NAME --from promises      write a recipe to start from
  luthier run NAME.yaml                 build, plan, train, evaluate, ship
  luthier predict runs/NAME rows.csv    use what came out

Every command takes --json: one JSON object on standard output, all else on standard error.
Exit codes: 0 done, 1 a check said no, 2 something has to be fixed, 70 a mistake
of luthier's own, 130 stopped.""",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


# --- the five verbs ----------------------------------------------------------------------------


@app.command()
@guarded
def build(
    recipe: RecipeArg,
    overrides: Overrides = None,
    runs: Runs = RUNS,
    force: Force = False,
    as_json: Json = False,
) -> Result:
    """Build the dataset: filter, render, split rows."""
    from luthier import look, pipeline
    from luthier.recipe import load

    run, happened = pipeline.bring_up_to(
        load(recipe, overrides or []), "data", runs=runs, force=force
    )
    return {"run": str(run.path), "stages": happened, "data": look.show_data(run)}


@app.command()
@guarded
def plan(
    recipe: RecipeArg,
    overrides: Overrides = None,
    nproc: Nproc = None,
    runs: Runs = RUNS,
    force: Force = False,
    as_json: Json = False,
) -> Result:
    """Tell memory, time and hazards; train nothing."""
    from luthier import launch, look, pipeline
    from luthier.console import say
    from luthier.recipe import load

    with launch.processes(nproc) as processes:
        if processes.rank:
            return _trained_along(processes)
        run, happened = pipeline.bring_up_to(
            load(recipe, overrides or []), "plan", runs=runs, force=force, processes=processes
        )
    found = look.show_plan(run)
    result = {"run": str(run.path), "stages": happened, "plan": found}
    if any(finding["severity"] == "error" for finding in found["findings"]):
        say("the plan says no; see the errors above.", style="red")
        raise SaidNo(result)
    return result


@app.command()
@guarded
def train(
    recipe: RecipeArg,
    overrides: Overrides = None,
    nproc: Nproc = None,
    runs: Runs = RUNS,
    force: Force = False,
    as_json: Json = False,
) -> Result:
    """Train; repeat it to resume."""
    from luthier import launch, pipeline
    from luthier.artifacts import TrainSummary
    from luthier.console import say
    from luthier.recipe import load

    with launch.processes(nproc) as processes:
        if processes.rank:
            return _trained_along(processes)
        run, happened = pipeline.bring_up_to(
            load(recipe, overrides or []), "train", runs=runs, force=force, processes=processes
        )
    report = pipeline.write_report(run)
    summary = TrainSummary.load(run)
    say(f"weights: {run.path / summary.weights}\nreport:  {report}")
    return {
        "run": str(run.path), "stages": happened, "train": summary.model_dump(mode="json"),
        "report": str(report),
    }  # fmt: skip


def _trained_along(processes: Any) -> Result:
    """What a process does that is not the first of those that torchrun or the like started."""
    from luthier import pipeline

    # The first one prints the result.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    pipeline.follow(processes)
    return {}


@app.command()
@guarded
def evaluate(
    run: RunArg,
    on: Annotated[Path | None, typer.Option(help="Another labelled file to test on.")] = None,
    input_column: InputColumn = None,
    output_column: OutputColumn = None,
    slice_by: Annotated[
        str | None, typer.Option(help="With --on: also score per value of this column.")
    ] = None,
    runs: Runs = RUNS,
    force: Force = False,
    as_json: Json = False,
) -> Result:
    """Measure a run, or test it on another file."""
    from luthier import look, pipeline
    from luthier.console import say
    from luthier.errors import LuthierError
    from luthier.run import Run

    opened = Run.open(run, runs)
    if on is not None:
        return pipeline.evaluate_on(
            opened, on, input_column=input_column, output_column=output_column, slice_by=slice_by,
            runs=runs,
        )  # fmt: skip
    if input_column or output_column or slice_by:
        raise LuthierError(
            "--input, --output and --slice-by go with --on FILE; for the run's own test rows "
            "they stand in the recipe (data.sources, evaluate.slice_by)."
        )
    happened = pipeline.bring_run_up_to(opened, "evaluate", runs=runs, force=force)
    report = pipeline.write_report(opened)
    shown = look.show_run_evaluation(opened)
    say(f"report: {report}")
    return {"run": str(opened.path), "stages": happened, "evaluation": shown, "report": str(report)}


@app.command()
@guarded
def ship(run: RunArg, runs: Runs = RUNS, force: Force = False, as_json: Json = False) -> Result:
    """Export; each export is reloaded and compared."""
    from luthier import pipeline
    from luthier.run import Run

    opened = Run.open(run, runs)
    happened = pipeline.bring_run_up_to(opened, "ship", runs=runs, force=force)
    exports = sorted(str(p) for p in opened.folder("ship").iterdir() if p.is_dir())
    return {"run": str(opened.path), "stages": happened, "exports": exports}


@app.command()
@guarded
def run(
    recipe: RecipeArg,
    overrides: Overrides = None,
    nproc: Nproc = None,
    runs: Runs = RUNS,
    force: Force = False,
    as_json: Json = False,
) -> Result:
    """Do all five; skip what is unchanged."""
    from luthier import launch, look, pipeline
    from luthier.console import say
    from luthier.recipe import load
    from luthier.run import Run

    measured: list[tuple[Run, Result]] = []

    def show_results(done: Run, stage: str) -> None:
        # Before shipping: what was measured is worth seeing even where nothing can be shipped.
        if stage == "evaluate":
            measured.append((done, look.show_run_evaluation(done)))

    with launch.processes(nproc) as processes:
        if processes.rank:
            return _trained_along(processes)
        try:
            done, happened = pipeline.bring_up_to(
                load(recipe, overrides or []), "ship", runs=runs, force=force,
                processes=processes, after=show_results,
            )  # fmt: skip
        except Exception:
            for unshipped, _ in measured:
                say(f"report: {pipeline.write_report(unshipped)}")
            raise
    report = pipeline.write_report(done)
    said = f"\nreport:  {report}"
    if done.recipe.task.kind != "text":  # plain text has no question to answer
        said += f'\npredict: luthier predict {done.path} "your text"'
    say(said, style="bold")
    [(_, shown)] = measured
    return {"run": str(done.path), "stages": happened, "evaluation": shown, "report": str(report)}


# --- around them -------------------------------------------------------------------------------


@app.command()
@guarded
def predict(
    run: RunArg,
    source: Annotated[
        str, typer.Argument(help="A sentence, a file (CSV, TSV, JSONL, JSON, Parquet, text), or -.")
    ],
    column: Annotated[str | None, typer.Option(help="Input column of the file.")] = None,
    out: Annotated[Path | None, typer.Option(help="Output file (.csv, .jsonl).")] = None,
    runs: Runs = RUNS,
    as_json: Json = False,
) -> Result:
    """Predict for a sentence, a file or stdin."""
    from luthier.predict import predict_source

    return predict_source(run, source, column=column, out=out, runs=runs, as_json=as_json)


for _command in cli_data.COMMANDS:
    app.command()(_command)


@app.command()
@guarded
def new(
    name: Annotated[str, typer.Argument(help="Name of the recipe and its run.")],
    kind: Annotated[
        str, typer.Option("--from", help="A starter: promises, classification, generation, chat.")
    ] = "classification",
    data: Annotated[Path | None, typer.Option(help="Your rows; columns are filled in.")] = None,
    input_column: InputColumn = None,
    output_column: OutputColumn = None,
    as_json: Json = False,
) -> Result:
    """Write a recipe to start from."""
    from luthier.starters import write_recipe

    path = write_recipe(
        name, kind, data=data, input_column=input_column, output_column=output_column
    )
    return {"recipe": str(path)}


@app.command("ls")
@guarded
def list_things(
    what: Annotated[str, typer.Argument(help="runs, models, templates, filters, ...")] = "runs",
    runs: Runs = RUNS,
    as_json: Json = False,
) -> Result:
    """List runs, models, datasets, templates, plugins.

    Kinds: runs, models, datasets, templates, filters, formats, generators, lints, checks,
    baselines, metrics, exporters, starters.
    """
    from luthier import look

    return {what: look.list_things(what, runs)}


@app.command()
@guarded
def show(
    run: RunArg,
    name: Annotated[
        str | None, typer.Argument(help="With `dataset`: a set of the catalogue.")
    ] = None,
    tokens: Annotated[bool, typer.Option("--tokens", help="Token by token.")] = False,
    rows: Annotated[int, typer.Option(help="How many rows with --tokens.", min=1)] = 3,
    runs: Runs = RUNS,
    as_json: Json = False,
) -> Result:
    """Show a run, or a public set.

    `show RUN --tokens`: what it trains on. `show dataset alpaca`: what is known of a public set.
    """
    from luthier import look
    from luthier.errors import LuthierError
    from luthier.run import Run

    if name is not None:
        if run != "dataset":
            raise LuthierError(
                f"show takes one run, or `dataset` and a name; found '{run} {name}'."
            )
        return look.show_dataset(name)

    opened = Run.open(run, runs)
    return look.show_tokens(opened, rows, runs) if tokens else look.show_run(opened)


@app.command()
@guarded
def diff(first: RunArg, second: RunArg, runs: Runs = RUNS, as_json: Json = False) -> Result:
    """Compare two runs: settings, data, results."""
    from luthier import look
    from luthier.run import Run

    return look.diff(Run.open(first, runs), Run.open(second, runs))


app.command("compare-data")(compare_data)


@app.command()
@guarded
def eject(
    recipe: RecipeArg,
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option(help="The script; NAME_trl.py if left out.", show_default=False)
    ] = None,
    runs: Runs = RUNS,
    as_json: Json = False,
) -> Result:
    """Write the recipe as a plain script for TRL."""
    from luthier import eject as writer
    from luthier import pipeline
    from luthier.recipe import load

    found, _ = pipeline.bring_up_to(load(recipe, overrides or []), "plan", runs=runs)
    return writer.tell(writer.eject(found, out or Path(f"{found.name}_trl.py"), runs=runs))


@app.command()
@guarded
def doctor(as_json: Json = False) -> Result:
    """Check this machine and what is installed."""
    from luthier import look

    found = look.show_doctor()
    if found["problems"]:
        raise SaidNo(found)
    return found


@app.command()
@guarded
def schema(
    out: Annotated[Path | None, typer.Argument(help="File; standard output if left out.")] = None,
    as_json: Json = False,
) -> Result:
    """Write the JSON schema of recipes, for editors."""
    from luthier import recipe
    from luthier.atomic import atomic_write

    found = recipe.schema()
    text = json.dumps(found, indent=2)
    if out is not None:
        with atomic_write(out) as file:
            file.write(text.encode() + b"\n")
        return {"schema": str(out)}
    if not as_json:
        print(text)
    return found


def _version(asked: bool) -> None:
    if asked:
        print(f"luthier {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that stand before the command."""
    # Text that the terminal's encoding cannot show is no reason to stop.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # No telemetry, ours or a dependency's.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


if __name__ == "__main__":
    app()
