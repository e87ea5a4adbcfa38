"""The order of the stages, what each depends on, and when one need not be repeated.

Stages do not know each other; this module and the command line are the only ones that do.
"""

from __future__ import annotations

import contextlib
import importlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from luthier import __version__, look
from luthier.artifacts import Plan, TrainSummary
from luthier.console import duration, say
from luthier.errors import CheckFailed, LuthierError, ModelError, RunError
from luthier.hardware import choose_precision, describe
from luthier.launch import ALONE, Processes
from luthier.locate import identity
from luthier.recipe import Loaded
from luthier.run import RUNS, SCRATCH, STAGES, Run, Stage, file_digest, fingerprint

JOBS: dict[Stage, tuple[str, str]] = {
    "data": ("luthier.data.build", "build"),
    "plan": ("luthier.planning.plan", "plan"),
    "train": ("luthier.training.train", "train"),
    "evaluate": ("luthier.evaluation.evaluate", "evaluate"),
    "ship": ("luthier.shipping.ship", "ship"),
}

IN_PASSING = (
    "ddp_timeout", "logging_steps", "per_device_eval_batch_size", "save_steps", "save_total_limit",
)  # fmt: skip
"""Settings of training that have no part in the weights: training goes on where one is changed."""


def bring_up_to(
    loaded: Loaded,
    last: Stage,
    *,
    runs: Path = RUNS,
    force: bool = False,
    processes: Processes = ALONE,
    after: Callable[[Run, Stage], None] = lambda run, stage: None,
    quiet: bool = False,
) -> tuple[Run, dict[Stage, str]]:
    """Run the stages up to `last`, skipping those that are done and unchanged.

    Args:
        loaded: the recipe.
        last: the stage to end with.
        runs: where run folders are kept.
        force: repeat `last` even if nothing changed.
        processes: those that train together; this one does all else.
        after: told of every stage that is done, also where a later one fails.
        quiet: of many runs: what data and plan found is not shown; errors still stop.

    Returns:
        The run, and what happened to each stage: `done` or `unchanged`.

    Raises:
        CheckFailed: the plan found an error; nothing is trained.
    """
    is_new = not Run.of(loaded, runs).path.exists()
    run = Run.create(loaded, runs)
    for note in loaded.notes:
        say(f"note: {note}", style="yellow")
    happened: dict[Stage, str] = {}
    with run.lock(), _dropped_if_a_mistake(run) if is_new else contextlib.nullcontext():
        for stage in STAGES[: STAGES.index(last) + 1]:
            try:
                happened[stage] = _bring(
                    run, stage, runs, force=force and stage == last, processes=processes
                )
            except ModelError as error:
                if (stage, last) != ("data", "plan"):
                    raise
                # A model that cannot be fetched here can still be planned for, from its config.
                rows = "with the rows built before" if run.is_done("data") else "without the data"
                say(f"planning {rows}: {error}", style="yellow")
                continue
            if stage != last:
                _tell(run, stage, happened[stage], last, quiet=quiet)
            after(run, stage)
    return run, happened


def bring_run_up_to(
    run: Run, last: Stage, *, runs: Path = RUNS, force: bool = False
) -> dict[Stage, str]:
    """The same for a run folder that exists; only `last` itself is run."""
    needed: tuple[Stage, ...] = ("data", "plan", "train")
    for stage in needed:
        run.require(stage)
    if not is_trained(run, runs):
        say(
            "note: the recipe, the model or luthier has changed since this run was trained, or a "
            "file of it has; the weights are taken as they are, with the recipe they were made "
            "with. `luthier train` makes new ones.",
            style="yellow",
        )
    with run.lock():
        return {last: _bring(run, last, runs, force=force)}


def evaluate_on(
    run: Run,
    on: Path,
    *,
    input_column: str | None = None,
    output_column: str | None = None,
    slice_by: str | None = None,
    runs: Path = RUNS,
) -> dict[str, Any]:
    """Test a trained run on another labelled file, read as its recipe reads its first source."""
    from luthier.data.build import read_rows_like
    from luthier.evaluation.evaluate import evaluate_on as measure

    run.require("train")
    examples, rejected = read_rows_like(
        run, on, input_column=input_column, output_column=output_column, runs=runs
    )
    for reason, count in rejected.items():
        say(f"rejected {count}: {reason}", style="yellow")
    named = {"input": input_column, "output": output_column}
    found = measure(
        run, examples, slice_by=slice_by,
        columns={field: column for field, column in named.items() if column}, runs=runs,
    )  # fmt: skip
    return {
        "run": str(run.path), "on": str(on), "rejected": rejected,
        "evaluation": look.show_evaluation(found),
    }  # fmt: skip


def write_rows(loaded: Loaded, *, budget: str | None = None, runs: Path = RUNS) -> dict[str, Any]:
    """Let models write the rows that a recipe asks of them, up to a budget.

    Args:
        loaded: the recipe.
        budget: as on the command line; None: the recipe's own.
        runs: where run folders are kept.

    Returns:
        The run, and what was written for each source.

    Raises:
        LuthierError: the recipe asks no model for rows, or the budget cannot be read.
    """
    from luthier.data.generating.write import summaries, written_sources
    from luthier.inference.budget import parse_budget

    data = loaded.recipe.data
    asked = [source.generate for source in data.sources if source.generate]
    if not asked:
        raise LuthierError(
            f"{loaded.path}: no source is written by a model; write it as data.sources: "
            "[{generate: {use: self_instruct, rows: 100}}]."
        )
    limit = None
    if budget is not None:
        limit = parse_budget(budget, (asked[0].llm or data.llm).prices)
    is_new = not Run.of(loaded, runs).path.exists()
    run = Run.create(loaded, runs)
    with run.lock(), _dropped_if_a_mistake(run) if is_new else contextlib.nullcontext():
        written_sources(run, runs=runs, budget=limit)
    return {"run": str(run.path), "generated": summaries(run)}


def write_report(run: Run) -> Path:
    """Write report.html from whatever the run has so far."""
    path: Path = importlib.import_module("luthier.reporting.report").report(run)
    return path


def follow(processes: Processes) -> None:
    """Be one of the other processes that torchrun or the like started: train along.

    Raises:
        ProcessLost: process 0 is gone.
    """
    processes.follow(_job("train"))


def _job(stage: Stage) -> Callable[..., Any]:
    module, name = JOBS[stage]
    job: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return job


def _bring(run: Run, stage: Stage, runs: Path, *, force: bool, processes: Processes = ALONE) -> str:
    """Run one stage unless it is done and unchanged."""
    mark = _fingerprint(run, stage, runs)
    if not force and _stands(run, stage, mark, runs, processes):
        say(f"{stage}: unchanged{_trained_otherwise(run, stage, processes)}", style="dim")
        run.drop_scratch(stage)
        if stage == "data":
            _describe_data(run)  # a kill may have come between the rows and their page
        return "unchanged"
    resume = stage == "train" and run.started_as("train") == mark and not run.is_done("train")
    if stage == "train" and not resume and not force:
        _tell_what_is_lost(run)
    with run.stage(stage, mark, resume=resume) as folder:
        try:
            if stage == "train":
                processes.run(lambda: _job(stage), run, runs)
            elif stage == "plan":
                _job(stage)(run, runs=runs, processes=processes)
            else:
                _job(stage)(run, runs=runs)
        except BaseException:
            if stage == "train":
                _drop_half_written_weights(folder)
            raise
    say(f"{stage}: done in {duration(run.seconds(stage))}", style="bold green")
    if stage == "data":
        _describe_data(run)
    return "done"


def _tell_what_is_lost(run: Run) -> None:
    """Training from the start takes the place of weights, or of an attempt, made otherwise.

    Raises:
        RunError: of an attempt that was cut short there are checkpoints.
    """
    otherwise = "with another recipe, other data, another model or another version of luthier"
    if run.is_done("train"):
        say(
            f"train: the weights that are there were made {otherwise}, or are damaged; they are "
            "made anew.",
            style="yellow",
        )
        return
    steps = sorted((run.path / "train").glob("checkpoints/step-*"))
    if steps:
        step = int(steps[-1].name.removeprefix("step-"))
        raise RunError(
            f"{run.path}: training stopped at step {step:,} and was begun {otherwise}, so it "
            "cannot go on from there. Bring back what it was begun with, give this one another "
            f"name (name={run.name}-2), or begin again and lose it: luthier train RECIPE --force."
        )


def _describe_data(run: Run) -> None:
    """Card and page of the dataset; behind the stage, of whose outcome they are no part."""
    names = {"dataset_card": "README.md", "dataset_page": "dataset.html"}
    for what, name in names.items():
        if (run.path / "data" / name).is_file():
            continue
        module = importlib.import_module(f"luthier.reporting.{what}")
        getattr(module, f"write_{what}")(run)


@contextlib.contextmanager
def _dropped_if_a_mistake(run: Run) -> Iterator[None]:
    """A new run that comes to nothing by a mistake in what was asked leaves no folder."""
    try:
        yield
    except LuthierError:
        run.drop_if_empty()
        raise


def _tell(run: Run, stage: Stage, happened: str, last: Stage, *, quiet: bool) -> None:
    """Say what a stage on the way found; stop where the plan says no to what is to be done."""
    if stage == "data" and happened == "done" and not quiet:
        look.show_data(run)
    if stage == "plan":
        plan = Plan.load(run)
        if happened == "done" and not quiet:
            look.show_findings(plan)
        errors = [
            finding
            for finding in plan.findings
            if finding.severity == "error" and STAGES.index(finding.stage) <= STAGES.index(last)
        ]
        if errors:
            said = "\n".join(f"  {f.check}: {f.what} {f.fix}" for f in errors)
            raise CheckFailed(f"the plan of {run.name} says no:\n{said}")


def _trained_otherwise(run: Run, stage: Stage, processes: Processes) -> str:
    if stage != "train" or processes.size == 1:
        return ""
    before = TrainSummary.load(run).processes
    if before == processes.size:
        return ""
    return f" (trained by {before} of them; --force trains it again by {processes.size})"


def _stands(run: Run, stage: Stage, mark: str, runs: Path, processes: Processes) -> bool:
    """Whether a stage need not be repeated.

    A plan is for a machine and a number of processes. Planned on a node without a GPU, trained on
    one with: it is made again. A run that is trained stays what it is wherever it is looked at:
    elsewhere, and for more processes, its plan is not made again, since another device or precision
    would have it trained again.
    """
    fresh = run.is_fresh(stage, mark)
    if stage != "plan":
        return fresh
    trained = is_trained(run, runs)
    if fresh == trained:  # both: torch need not be imported; neither: there is nothing to keep
        return fresh
    plan, hardware = Plan.load(run), describe(run.path)
    has_encoder = plan.decided("architecture") is not None
    precision, _ = choose_precision(run.recipe.train, hardware, has_encoder=has_encoder)
    here = (hardware.device, precision, processes.size)
    made_here = (plan.device, plan.precision, plan.processes) == here
    return made_here if fresh else not made_here


def is_trained(run: Run, runs: Path) -> bool:
    """Whether the run is trained as its recipe and its plan say."""
    if not (run.is_done("data") and run.is_done("plan")):
        return False
    try:
        return run.is_fresh("train", _fingerprint(run, "train", runs))
    except RunError:  # the plan cannot be read, or the recipe names a run that is not there
        return False


def _drop_half_written_weights(folder: Path) -> None:
    """Weights are written file by file; a part of them looks like a model to anybody else."""
    for child in folder.iterdir():
        if child.is_dir() and child.name not in SCRATCH["train"]:
            shutil.rmtree(child, ignore_errors=True)


def _fingerprint(run: Run, stage: Stage, runs: Path) -> str:
    recipe = run.recipe.model_dump(mode="json")
    train = recipe["train"]
    model = [recipe["model"], identity(run.recipe.model.name, runs)]
    if stage == "data":
        from luthier.data.build import input_files

        shape = {k: train[k] for k in ("max_seq_length", "train_on")}
        # By content alone: a project folder that was moved or copied is the same project.
        files: list[Any] = [file_digest(path) for path in input_files(run)]
        named = [f.options.get("model") for f in run.recipe.data.filters]
        embedders = [identity(name, runs) for name in named if isinstance(name, str)]
        files += [one for one in embedders if one]
        return fingerprint(
            __version__, recipe["task"], recipe["data"], recipe["seed"], model, shape, files
        )
    if stage == "plan":
        built = run.digest("data") if run.is_done("data") else None
        planned = [recipe[k] for k in ("task", "data", "train", "evaluate", "seed")]
        if train["lora"] is None:  # checks/adapter_without_lora.py; else `ship` is no concern of it
            planned.append(run.recipe.exporters)
        return fingerprint(__version__, planned, model, built)
    data = run.digest("data")
    if stage == "train":
        plan = Plan.load(run)
        train = {name: value for name, value in train.items() if name not in IN_PASSING}
        return fingerprint(
            __version__, train, recipe["seed"], model, data, plan.device, plan.precision
        )
    trained = run.digest("train")
    if stage == "evaluate":
        return fingerprint(__version__, recipe["evaluate"], recipe["task"], data, trained)
    # `ship` takes the figures of the evaluation along, where there are some.
    evaluated = run.digest("evaluate") if run.is_done("evaluate") else None
    return fingerprint(__version__, recipe["ship"], trained, evaluated)
