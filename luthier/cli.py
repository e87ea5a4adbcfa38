"""The commands: parse, call one function, print.

Every command: `--json` prints one JSON object on stdout and everything else goes to stderr; exit
0 done, 1 a check said no, 2 the user must fix something, 130 stopped by Ctrl-C. Nothing heavy is
imported before a command needs it, so that `--help` is instant.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from luthier import __version__

app = typer.Typer(
    name="luthier",
    help="Adapt an LLM to a task, and prove that it did.\n\n"
    "  luthier new NAME --from promises     write a recipe\n"
    "  luthier run NAME.yaml                build, plan, train, evaluate, ship\n"
    "  luthier predict runs/NAME rows.csv   use it",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

RecipeArg = Annotated[Path, typer.Argument(help="Recipe file (YAML).", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="key=value, e.g. train.learning_rate=1e-4.", show_default=False),
]
RunArg = Annotated[str, typer.Argument(help="Run folder or name.", show_default=False)]
Runs = Annotated[Path, typer.Option("--runs", help="Folder of run folders.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Force = Annotated[bool, typer.Option("--force", help="Repeat it even if nothing changed.")]
RUNS = Path("runs")

Result = dict[str, Any] | None


def _guarded(command: Callable[..., Result]) -> Callable[..., None]:
    """Print the result of a command as JSON if asked, and turn errors into exit codes."""

    @functools.wraps(command)
    def wrapper(*args: Any, **options: Any) -> None:
        from luthier.errors import LuthierError, RecipeError

        as_json = options.get("as_json", False)
        try:
            result = command(*args, **options)
        except LuthierError as error:
            _complain(str(error))
            if as_json:
                problems = error.problems if isinstance(error, RecipeError) else []
                said = {
                    "error": str(error),
                    "kind": type(error).__name__,
                    "problems": [vars(p) for p in problems],
                }
                print(json.dumps(said))
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            _complain("stopped; repeat the command to go on")
            raise typer.Exit(130) from None
        except BrokenPipeError:
            # The reader of our output went away (`luthier ... | head`): nobody is left to tell.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        if as_json:
            print(json.dumps(result, ensure_ascii=False, default=str))

    return wrapper


def _complain(message: str) -> None:
    from luthier.console import say

    say(message, style="red")


# --- the five verbs ----------------------------------------------------------------------------


@app.command()
@_guarded
def build(recipe: RecipeArg, overrides: Overrides = None, runs: Runs = RUNS, force: Force = False,
          as_json: Json = False) -> Result:
    """Build the dataset: rows, templates, filters, splits."""
    from luthier import look, pipeline
    from luthier.recipe import load

    run, happened = pipeline.bring_up_to(
        load(recipe, overrides or []), "data", runs=runs, force=force
    )
    return {"run": str(run.path), "stages": happened, "data": look.show_data(run)}


@app.command()
@_guarded
def plan(recipe: RecipeArg, overrides: Overrides = None, runs: Runs = RUNS, force: Force = False,
         as_json: Json = False) -> Result:
    """Say what would happen: memory, time, hazards. Nothing is trained."""
    from luthier import look, pipeline
    from luthier.errors import CheckFailed
    from luthier.recipe import load

    run, happened = pipeline.bring_up_to(
        load(recipe, overrides or []), "plan", runs=runs, force=force
    )
    found = look.show_plan(run)
    if any(finding["severity"] == "error" for finding in found["findings"]):
        if as_json:
            print(json.dumps({"run": str(run.path), "stages": happened, "plan": found}))
            raise typer.Exit(1)
        raise CheckFailed("the plan says no; see the errors above.")
    return {"run": str(run.path), "stages": happened, "plan": found}


@app.command()
@_guarded
def train(recipe: RecipeArg, overrides: Overrides = None, runs: Runs = RUNS, force: Force = False,
          as_json: Json = False) -> Result:
    """Train; builds and plans first if need be. Repeat it to resume."""
    from luthier import pipeline
    from luthier.artifacts import TrainSummary
    from luthier.console import say
    from luthier.recipe import load

    run, happened = pipeline.bring_up_to(
        load(recipe, overrides or []), "train", runs=runs, force=force
    )
    report = pipeline.write_report(run)
    summary = TrainSummary.load(run)
    say(f"weights: {run.path / summary.weights}\nreport:  {report}")
    return {
        "run": str(run.path), "stages": happened, "train": summary.model_dump(mode="json"),
        "report": str(report),
    }  # fmt: skip


@app.command()
@_guarded
def evaluate(
    run: RunArg,
    on: Annotated[Path | None, typer.Option(help="Another labelled file to test on.")] = None,
    input_column: Annotated[str | None, typer.Option("--input", help="Its input column.")] = None,
    output_column: Annotated[str | None, typer.Option("--output", help="Its label column.")] = None,
    slice_by: Annotated[str | None, typer.Option(help="Also score per value of a column.")] = None,
    runs: Runs = RUNS,
    force: Force = False,
    as_json: Json = False,
) -> Result:
    """Measure a trained run against its baselines, or on another file."""
    from luthier import look, pipeline
    from luthier.console import say
    from luthier.run import Run

    opened = Run.open(run, runs)
    if on is not None:
        from luthier.data.build import read_rows_like
        from luthier.evaluation.evaluate import evaluate_on

        opened.require("train")
        examples, rejected = read_rows_like(
            opened, on, input_column=input_column, output_column=output_column
        )
        found = evaluate_on(opened, examples, slice_by=slice_by, runs=runs)
        return {
            "run": str(opened.path), "on": str(on), "rejected": rejected,
            "evaluation": look.show_evaluation(found),
        }  # fmt: skip
    happened = pipeline.bring_run_up_to(opened, "evaluate", runs=runs, force=force)
    report = pipeline.write_report(opened)
    shown = look.show_run_evaluation(opened)
    say(f"report: {report}")
    return {"run": str(opened.path), "stages": happened, "evaluation": shown, "report": str(report)}


@app.command()
@_guarded
def ship(run: RunArg, runs: Runs = RUNS, force: Force = False, as_json: Json = False) -> Result:
    """Export a trained run; each export is reloaded and compared."""
    from luthier import pipeline
    from luthier.run import Run

    opened = Run.open(run, runs)
    happened = pipeline.bring_run_up_to(opened, "ship", runs=runs, force=force)
    exports = sorted(str(p) for p in opened.folder("ship").iterdir() if p.is_dir())
    return {"run": str(opened.path), "stages": happened, "exports": exports}


@app.command()
@_guarded
def run(recipe: RecipeArg, overrides: Overrides = None, runs: Runs = RUNS, force: Force = False,
        as_json: Json = False) -> Result:
    """All five in order; what is done and unchanged is skipped."""
    from luthier import look, pipeline
    from luthier.console import say
    from luthier.recipe import load

    done, happened = pipeline.bring_up_to(
        load(recipe, overrides or []), "ship", runs=runs, force=force
    )
    report = pipeline.write_report(done)
    shown = look.show_run_evaluation(done)
    say(f"\nreport:  {report}\npredict: luthier predict {done.path} \"your text\"", style="bold")
    return {"run": str(done.path), "stages": happened, "evaluation": shown, "report": str(report)}


# --- around them -------------------------------------------------------------------------------


@app.command()
@_guarded
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
    """Predict for a sentence, standard input, or a file."""
    from luthier.predict import predict_source

    return predict_source(run, source, column=column, out=out, runs=runs, as_json=as_json)


@app.command()
@_guarded
def new(
    name: Annotated[str, typer.Argument(help="Name of the recipe and its run.")],
    kind: Annotated[
        str, typer.Option("--from", help="promises, classification, generation or chat.")
    ] = "classification",
    data: Annotated[Path | None, typer.Option(help="Your rows; columns are filled in.")] = None,
    input_column: Annotated[str | None, typer.Option("--input", help="Input column.")] = None,
    output_column: Annotated[str | None, typer.Option("--output", help="Output column.")] = None,
    as_json: Json = False,
) -> Result:
    """Write a recipe to start from."""
    from luthier.starters import write_recipe

    path = write_recipe(
        name, kind, data=data, input_column=input_column, output_column=output_column
    )
    return {"recipe": str(path)}


@app.command("ls")
@_guarded
def list_things(
    what: Annotated[str, typer.Argument(help="runs, models, templates, filters, ...")] = "runs",
    runs: Runs = RUNS,
    as_json: Json = False,
) -> Result:
    """List runs, models, templates, filters, checks, baselines, metrics, exporters, starters."""
    from luthier import look

    return {what: look.list_things(what, runs)}


@app.command()
@_guarded
def show(
    run: RunArg,
    tokens: Annotated[bool, typer.Option("--tokens", help="Token by token.")] = False,
    rows: Annotated[int, typer.Option(help="How many rows with --tokens.", min=1)] = 3,
    runs: Runs = RUNS,
    as_json: Json = False,
) -> Result:
    """Show a run; with --tokens, rows as the model sees them and what of them is trained."""
    from luthier import look
    from luthier.run import Run

    opened = Run.open(run, runs)
    return look.show_tokens(opened, rows, runs) if tokens else look.show_run(opened)


@app.command()
@_guarded
def diff(first: RunArg, second: RunArg, runs: Runs = RUNS, as_json: Json = False) -> Result:
    """Compare two runs: settings, versions, data, results."""
    from luthier import look
    from luthier.run import Run

    return look.diff(Run.open(first, runs), Run.open(second, runs))


@app.command()
@_guarded
def doctor(as_json: Json = False) -> Result:
    """Check this machine: versions, device, memory, known-bad combinations."""
    from luthier import look

    found = look.show_doctor()
    if found["problems"]:
        if as_json:
            print(json.dumps(found, default=str))
        raise typer.Exit(1)
    return found


@app.command()
def schema(
    out: Annotated[Path | None, typer.Argument(help="File; standard output if left out.")] = None,
) -> None:
    """Write the JSON schema of recipes, for editors."""
    from luthier import recipe

    text = json.dumps(recipe.schema(), indent=2)
    if out is None:
        print(text)
    else:
        out.write_text(text + "\n", encoding="utf-8")


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
    # No telemetry, ours or a dependency's.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


if __name__ == "__main__":
    app()
