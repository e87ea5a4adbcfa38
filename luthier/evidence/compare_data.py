"""`luthier compare-data A B`: which of two datasets makes the better model, shown by training.

The same recipe is trained on the rows of A, on those of B and, as a control, on a random subset of
the larger one of the size of the smaller; with several seeds, each of which draws the rows and
trains anew (Bouthillier et al. 2021, "Accounting for variance in machine learning benchmarks",
arXiv:2103.03098: whatever is drawn at random should be drawn again). All models are judged on the
same held-out rows, which no side was trained on. The control tells better rows from more rows: LIMA
(arXiv:2305.11206) says that a thousand excellent rows do, and this is how to see whether they do.

Every training is an ordinary run, so a command that was stopped goes on where it was.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from luthier import pipeline
from luthier.artifacts import load_examples, save_examples
from luthier.atomic import explained
from luthier.console import say
from luthier.data.files.sources import require_readable
from luthier.errors import DataError, LuthierError, RunError
from luthier.evaluation.evaluate import metrics_of
from luthier.evidence import sides
from luthier.evidence.comparison import DataComparison, JudgedRows, SideData
from luthier.evidence.pools import Arm, Pool, arms_of, pool_of
from luthier.evidence.results import arm_results, pair_results
from luthier.evidence.sides import Settings, Side
from luthier.evidence.trainings import announce, run_name, train_and_judge, trainings_of
from luthier.example import Example
from luthier.recipe import MAX_NAME, NAME_PATTERN
from luthier.run import RUNS, Run

SEEDS = 3
"""The least that shows how much seeds differ with some certainty; more narrow the interval."""


class Wanted(NamedTuple):
    """What was asked for on the command line."""

    a: str
    b: str
    recipe: Path | None = None
    on: Path | None = None
    input_column: str | None = None
    output_column: str | None = None
    size: int | None = None
    seeds: int = SEEDS
    control: bool = True
    name: str | None = None
    overrides: Sequence[str] = ()


def compare_data(wanted: Wanted, *, runs: Path = RUNS) -> tuple[DataComparison, Path]:
    """Train on both datasets and say which makes the better model.

    Args:
        wanted: the datasets, and how they are compared.
        runs: where run folders are kept; the comparison's own folder is among them.

    Returns:
        What was found, and the comparison's folder.

    Raises:
        LuthierError: the two cannot be compared: other settings, other labels, too few rows.
        CheckFailed: the plan of a training says no.
    """
    a = sides.read("a", wanted.a, runs, wanted.overrides)
    b = sides.read("b", wanted.b, runs, wanted.overrides)
    settings, overridden = sides.common_settings(a, b, wanted.recipe, wanted.overrides)
    sides.require_own_runs(settings, a, b, runs)
    for line in overridden:
        say(line, style="yellow")
    metrics = [m for m in metrics_of(settings.recipe)[0] if m.better is not None]
    if not metrics:
        raise LuthierError(
            "evaluate.metrics: none of them says which of two models is better; name one that does."
        )
    if wanted.on is not None:
        require_readable(wanted.on, str(wanted.on))
    folder = _folder(wanted, runs)
    with folder.lock():
        one, other = (
            sides.built(side, settings, folder.path, folder.name, runs) for side in (a, b)
        )
        held_out, where, notes = _held_out(wanted, settings, one, runs)
        save_examples(folder.path / "rows" / "held_out.parquet", held_out)
        say(f"held out: {len(held_out):,} rows, {where}", style="bold")
        pools = (
            pool_of(one, held_out, settings.recipe, folder.path / "removed-a.jsonl"),
            pool_of(other, held_out, settings.recipe, folder.path / "removed-b.jsonl"),
        )
        seeds = [settings.recipe.seed + number for number in range(wanted.seeds)]
        arms, more = arms_of(*pools, wanted.size, seeds, settings.recipe, control=wanted.control)
        notes += [*more, *_other_words(one, other, settings), *_on_chance(arms, seeds)]
        for note in notes:
            say(note, style="yellow")
        # Not before: what was refused can be asked for in another way under the same name.
        folder.write_json("asked.json", _asked(wanted))
        trainings = trainings_of(arms, seeds, settings, folder)
        estimated = announce(trainings, len(held_out), runs)
        outcomes = train_and_judge(trainings, held_out, folder, runs)
        made = {
            arm.key: [Run.open(run_name(folder, arm.key, seed), runs) for seed in seeds]
            for arm in arms
        }
        found = DataComparison(
            task=settings.recipe.task.kind,
            recipe=settings.name,
            overridden=overridden,
            seeds=seeds,
            main_metric=metrics[0].name,
            lower_is_better=[metric.name for metric in metrics if metric.better == "lower"],
            held_out=JudgedRows(
                what=where,
                rows=len(held_out),
                labels=dict(Counter(row.label for row in held_out if row.label is not None)),
            ),
            sides={pool.side.key: _side(pool, pools) for pool in pools},
            size=wanted.size,
            arms=arm_results(arms, made, outcomes, metrics, settings.recipe),
            pairs=pair_results(arms, outcomes, metrics, settings.recipe),
            notes=notes,
            estimated_seconds=estimated,
            asked=_asked(wanted),
        )
        found.save(folder)
    return found, folder.path


# --- what is compared ----------------------------------------------------------------------------


def _folder(wanted: Wanted, runs: Path) -> Run:
    """The folder of the comparison; it is written as a run's is, and holds no run.

    Raises:
        LuthierError: the name cannot be that of a folder.
        RunError: there is something else in it.
    """
    stems = (Path(given.removeprefix("luthier:")).stem for given in (wanted.a, wanted.b))
    name = wanted.name or "-vs-".join(stems) + (f"-{wanted.size}" if wanted.size else "")
    if wanted.name is None:
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._") or "compared"
    if not re.fullmatch(NAME_PATTERN, name) or len(name) > MAX_NAME - 20:
        raise LuthierError(
            f"--name {name}: expected at most {MAX_NAME - 20} letters, digits, '.', '_' and '-'."
        )
    folder = Run(runs / name)
    if (folder.path / "recipe.json").exists():
        raise RunError(f"{folder.path} is a run; choose another name with --name.")
    if (folder.path / "asked.json").is_file():
        before, now = folder.read_json("asked.json"), _asked(wanted)
        changed = [key for key in now if key not in ("seeds", "control")
                   and before.get(key) != now[key]]  # fmt: skip
        if changed:
            listed = "; ".join(f"{key}: {before.get(key)} then, {now[key]} now" for key in changed)
            raise RunError(
                f"{folder.path} holds another comparison ({listed}). Choose another name with "
                "--name, or delete it."
            )
    with explained(folder.path):
        folder.path.mkdir(parents=True, exist_ok=True)
    return folder


def _asked(wanted: Wanted) -> dict[str, Any]:
    """What tells one comparison from another, as plain values."""
    asked = {key: value for key, value in wanted._asdict().items() if key != "name"}
    asked |= {key: str(value) for key in ("recipe", "on") if (value := asked[key]) is not None}
    return asked | {"overrides": list(wanted.overrides)}


def _held_out(
    wanted: Wanted, settings: Settings, one: Side, runs: Path
) -> tuple[list[Example], str, list[str]]:
    """The rows that all models are judged on, where they are from, and what to bear in mind.

    Raises:
        DataError: there are none.
    """
    from luthier.data.build import read_rows_like

    if wanted.on is not None:
        rows, rejected = read_rows_like(
            one.run, wanted.on, input_column=wanted.input_column,
            output_column=wanted.output_column, runs=runs,
        )  # fmt: skip
        for reason, count in rejected.items():
            say(f"{wanted.on}: rejected {count}: {reason}", style="yellow")
        return rows, f"those of {wanted.on}", []
    run, name, notes = one.run, one.given, []
    if settings.name == one.given:
        if wanted.a != wanted.b:
            notes.append(
                f"The held-out rows are from the same source as the rows of A ({one.given}), which "
                "is on home ground there; --on FILE names others."
            )
    else:
        name = settings.name
        if settings.loaded is not None:
            run, _ = pipeline.bring_up_to(settings.loaded, "data", runs=runs)
        else:
            run = Run.open(settings.name, runs)
    rows = load_examples(run, "test")
    if not rows:
        raise DataError(
            f"{name}: its test split has no rows, so nothing can be judged. Set data.split.test "
            "above 0, or name labelled rows with --on FILE."
        )
    return rows, f"the test split of {name}", notes


def _on_chance(arms: Sequence[Arm], seeds: Sequence[int]) -> list[str]:
    """Notes on what the intervals can and cannot say."""
    notes = []
    if len(seeds) == 1:
        notes.append(
            "With one seed an interval says nothing of how another seed would have come out; use "
            f"--seeds {SEEDS} or more."
        )
    first, second = ([(row.id, row.completion) for row in arm.draw(seeds[0])] for arm in arms[:2])
    if first == second:
        notes.append("A and B are the same rows, and so are their models.")
    return notes


def _side(pool: Pool, pools: Sequence[Pool]) -> SideData:
    return SideData(
        name=pool.side.given,
        run=str(pool.side.run.path),
        built=pool.built,
        removed=pool.removed,
        removed_file=str(pool.removed_file),
        rows=len(pool.train),
        validation=min(len(each.validation) for each in pools),
    )


def _other_words(one: Side, other: Side, settings: Settings) -> list[str]:
    """Notes on differences between the datasets beyond their rows."""
    differing = [key for key in sides.data_differences(one.run, other.run) if key != "data.sources"]
    notes = []
    if differing:
        notes.append(f"The datasets were also built differently: {', '.join(differing)}.")
    words = [tuple(side.run.recipe.data.templates) for side in (one, other)]
    if words[0] != words[1]:
        notes.append(
            "The two datasets put other words around their rows (templates), and the held-out rows "
            f"have those of {settings.name}: part of a difference may be due to that."
        )
    return notes
