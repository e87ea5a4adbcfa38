"""The order of the stages, what each depends on, and when one need not be repeated.

Stages do not know each other; this module and the command line are the only ones that do.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from luthier import __version__
from luthier.artifacts import Plan
from luthier.console import duration, say
from luthier.errors import CheckFailed, ModelError
from luthier.recipe import Loaded
from luthier.run import RUNS, STAGES, Run, Stage, file_digest, fingerprint

JOBS: dict[Stage, tuple[str, str]] = {
    "data": ("luthier.data.build", "build"),
    "plan": ("luthier.planning.plan", "plan"),
    "train": ("luthier.training.train", "train"),
    "evaluate": ("luthier.evaluation.evaluate", "evaluate"),
    "ship": ("luthier.shipping.ship", "ship"),
}


def bring_up_to(loaded: Loaded, last: Stage, *, runs: Path = RUNS, force: bool = False
                ) -> tuple[Run, dict[Stage, str]]:
    """Run the stages up to `last`, skipping those that are done and unchanged.

    Args:
        loaded: the recipe.
        last: the stage to end with.
        runs: where run folders are kept.
        force: repeat `last` even if nothing changed.

    Returns:
        The run, and what happened to each stage: `done` or `unchanged`.

    Raises:
        CheckFailed: the plan found an error; nothing is trained.
    """
    run = Run.create(loaded, runs)
    for note in loaded.notes:
        say(f"note: {note}", style="yellow")
    with run.lock():
        if last != "plan":
            return run, _stages(run, STAGES[: STAGES.index(last) + 1], runs, force)
        try:
            happened = _stages(run, ("data",), runs, False)
        except ModelError as error:
            # A model that cannot be fetched here can still be planned for, from its config alone.
            say(f"planning without the data: {error}", style="yellow")
            happened = {}
        return run, happened | _stages(run, ("plan",), runs, force)


def bring_run_up_to(run: Run, last: Stage, *, runs: Path = RUNS, force: bool = False
                    ) -> dict[Stage, str]:
    """The same for a run folder that exists; only `last` itself is run."""
    for earlier in STAGES[: STAGES.index(last)]:
        if earlier in ("data", "plan", "train"):
            run.require(earlier)
    with run.lock():
        return _stages(run, (last,), runs, force)


def write_report(run: Run) -> Path:
    """Write report.html from whatever the run has so far."""
    path: Path = importlib.import_module("luthier.reporting.report").report(run)
    return path


def _stages(run: Run, stages: Sequence[Stage], runs: Path, force: bool) -> dict[Stage, str]:
    happened: dict[Stage, str] = {}
    for stage in stages:
        mark = _fingerprint(run, stage, runs)
        if run.is_fresh(stage, mark) and not (force and stage == stages[-1]):
            happened[stage] = "unchanged"
            say(f"{stage}: unchanged", style="dim")
        else:
            module, name = JOBS[stage]
            job: Callable[..., Any] = getattr(importlib.import_module(module), name)
            keep = _resumable(run, mark) if stage == "train" else None
            with run.stage(stage, mark, keep):
                job(run, runs=runs)
            happened[stage] = "done"
            say(f"{stage}: done in {duration(run.seconds(stage))}", style="bold green")
        if stage == "plan" and stages[-1] != "plan":
            _obey(Plan.load(run), run)
    return happened


def _obey(plan: Plan, run: Run) -> None:
    errors = [f for f in plan.findings if f.severity == "error"]
    if errors:
        said = "\n".join(f"  {f.check}: {f.what} {f.fix}" for f in errors)
        raise CheckFailed(f"the plan of {run.name} says no:\n{said}")


def _resumable(run: Run, mark: str) -> Callable[[Path], bool]:
    """Keep the checkpoints of an attempt at the same thing; those of another are of no use."""
    same = run.started_as("train") == mark
    return lambda path: same and path.name in ("checkpoints", "best")


def _fingerprint(run: Run, stage: Stage, runs: Path) -> str:
    recipe = run.recipe.model_dump(mode="json")
    train = recipe["train"]
    model = [recipe["model"], _model_identity(run.recipe.model.name, runs)]
    if stage == "data":
        from luthier.data.build import input_files

        shape = {k: train[k] for k in ("max_seq_length", "train_on")}
        files = {str(path): file_digest(path) for path in input_files(run)}
        return fingerprint(
            __version__, recipe["task"], recipe["data"], recipe["seed"], model, shape, files
        )
    if stage == "plan":
        built = run.digest("data") if run.is_done("data") else None
        return fingerprint(__version__, recipe, built)
    data = run.digest("data")
    if stage == "train":
        plan = Plan.load(run)
        return fingerprint(
            __version__, train, recipe["seed"], model, data, plan.device, plan.precision
        )
    trained = run.digest("train")
    if stage == "evaluate":
        return fingerprint(__version__, recipe["evaluate"], recipe["task"], data, trained)
    # `ship` takes the figures of the evaluation along, where there are some.
    evaluated = run.digest("evaluate") if run.is_done("evaluate") else None
    return fingerprint(__version__, recipe["ship"], trained, evaluated)


def _model_identity(name: str, runs: Path) -> Any:
    """What tells whether a local model is still the same one; names of the hub speak for
    themselves."""
    if name.startswith("run:"):
        return Run.open(name.removeprefix("run:"), runs).digest("train")
    folder = Path(name)
    if folder.is_dir():
        files = (p for p in sorted(folder.iterdir()) if p.is_file())
        return [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    return None
