"""The runs of a comparison: one per draw of rows and seed, trained and judged one after another."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from luthier import pipeline
from luthier.artifacts import Plan
from luthier.console import duration, say
from luthier.evaluation.outcome import Outcome
from luthier.evidence import sides
from luthier.evidence.judging import judged
from luthier.evidence.pools import Arm, ArmKey, save_draw
from luthier.evidence.sides import Settings
from luthier.example import Example
from luthier.recipe import Loaded
from luthier.run import Run


class Training(NamedTuple):
    """One run of the comparison."""

    arm: Arm
    seed: int
    loaded: Loaded


def trainings_of(
    arms: Sequence[Arm], seeds: Sequence[int], settings: Settings, folder: Run
) -> list[Training]:
    """Write rows and recipe of every run: all arms of a seed before the next seed.

    Args:
        arms: the draws.
        seeds: of draws and trainings.
        settings: of all runs.
        folder: of the comparison; `rows/held_out.parquet` is there.
    """
    validation = min(len(arm.pool.validation) for arm in arms)
    made = []
    for seed in seeds:
        for arm in arms:
            files = save_draw(arm, seed, validation, folder.path)
            sources = [
                {"path": path, "format": "built", "split": split}
                # First, so that no other row can take the id of a held-out one.
                for path, split in (("rows/held_out.parquet", "test"), *files)
            ]
            split = settings.recipe.data.split.model_dump(mode="json", exclude_unset=True)
            data = {"sources": sources, "filters": [], "split": split}
            if (template := settings.recipe.data.template) is not None:
                data["template"] = template  # for `predict`; the rows have their words already
            tree = settings.recipe.model_dump(mode="json", exclude_unset=True)
            tree["data"] = sides.with_files_found(data, settings.root)
            tree |= {"name": run_name(folder, arm.key, seed), "seed": seed}
            path = folder.path / f"{arm.key}-{seed}.yaml"
            loaded = sides.write_recipe(path, tree, f"{arm.name}, seed {seed}")
            made.append(Training(arm, seed, loaded))
    return made


def run_name(folder: Run, arm: ArmKey, seed: int) -> str:
    """Name of the run of an arm and a seed."""
    return f"{folder.name}-{arm}-{seed}"


def announce(trainings: Sequence[Training], held_out: int, runs: Path) -> float | None:
    """Say how long all will take; the plans of the first seed's trainings stand for the others'.

    Args:
        trainings: all of them.
        held_out: rows that every model will be asked about.
        runs: where runs are kept.

    Returns:
        Seconds of all trainings, those that are done included; None where no plan can say.

    Raises:
        CheckFailed: a plan says no; nothing is trained.
    """
    first = [training for training in trainings if training.seed == trainings[0].seed]
    seconds: dict[ArmKey, float | None] = {}
    for training in first:
        run, _ = pipeline.bring_up_to(training.loaded, "plan", runs=runs, quiet=True)
        seconds[training.arm.key] = Plan.load(run).seconds
    left = [training for training in trainings if not _is_trained(training, runs)]
    drawn = "; ".join(f"{each.arm.name}: {each.arm.size:,} rows" for each in first)
    say(f"{len(trainings)} trainings, {len(trainings) // len(first)} of each draw: {drawn}", "bold")
    if not left:
        say("all of them are done", style="dim")
        return _total(trainings, seconds)
    rest = _total(left, seconds)
    about = "nobody can say how long" if rest is None else f"about {duration(rest)}"
    done = len(trainings) - len(left)
    say(
        f"{f'{done} are done; ' if done else ''}training "
        f"{f'the other {len(left)}' if done else 'them'} will take {about} by their plans, and "
        f"every model is then asked about {held_out:,} rows.",
        style="bold",
    )
    return _total(trainings, seconds)


def _total(trainings: Sequence[Training], seconds: dict[ArmKey, float | None]) -> float | None:
    known = [seconds[training.arm.key] for training in trainings]
    return None if None in known else sum(value for value in known if value is not None)


def _is_trained(training: Training, runs: Path) -> bool:
    run = Run.of(training.loaded, runs)
    return (run.path / "recipe.json").is_file() and pipeline.is_trained(run, runs)


def train_and_judge(
    trainings: Sequence[Training], held_out: Sequence[Example], folder: Run, runs: Path
) -> dict[ArmKey, list[Outcome]]:
    """Outcomes of every arm, one per seed; what was done before is not done again.

    Args:
        trainings: all arms of a seed before the next.
        held_out: what every model is asked.
        folder: of the comparison.
        runs: where runs are kept.
    """
    outcomes: dict[ArmKey, list[Outcome]] = {}
    spent: list[float] = []
    for number, training in enumerate(trainings, 1):
        started = time.monotonic()
        say(f"[{number}/{len(trainings)}] {training.arm.name}, seed {training.seed}", "bold")
        run, happened = pipeline.bring_up_to(training.loaded, "train", runs=runs, quiet=True)
        outcome = judged(run, held_out, folder, runs=runs)
        outcomes.setdefault(training.arm.key, []).append(outcome)
        if happened["train"] == "done":
            spent.append(time.monotonic() - started)
        left = len(trainings) - number
        if left and spent:
            say(f"{left} left, about {duration(left * sum(spent) / len(spent))}", style="dim")
    return outcomes
