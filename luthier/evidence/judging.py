"""What the models of a comparison say about the held-out rows; kept, so that it is asked once."""

from __future__ import annotations

import gc
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from luthier.artifacts import load_examples
from luthier.errors import DataError, RunError
from luthier.evaluation.asking import Interviewer, choices
from luthier.evaluation.outcome import Answers, Choices, Outcome, groups_of
from luthier.example import Example
from luthier.made_with import recipe_of
from luthier.recipe import Recipe
from luthier.run import Run, fingerprint


def judged(run: Run, held_out: Sequence[Example], folder: Run, *, runs: Path) -> Outcome:
    """What a trained run says about the held-out rows, which are its test split.

    Args:
        run: trained.
        held_out: the rows it must have been given, in this order.
        folder: of the comparison, where outcomes are kept.
        runs: where runs are kept.

    Raises:
        DataError: its test split is another.
    """
    rows, recipe = load_examples(run, "test"), recipe_of(run)
    if [row.id for row in rows] != [row.id for row in held_out]:
        known = {row.id for row in rows}
        lost = [str(row.origin) for row in held_out if row.id not in known]
        raise DataError(
            f"{run.path}: of {len(held_out)} held-out rows {len(rows)} are in its test split"
            + (f"; {', '.join(lost[:5])} are not" if lost else "")
            + f". {run.path / 'data' / 'rejects.jsonl'} says why; all models must be judged on "
            "the same rows."
        )
    name = f"judged/{run.name}.json"
    mark = fingerprint(
        run.digest("train"), [row.id for row in rows], recipe.evaluate.generation.model_dump()
    )
    if (kept := _kept(folder, name, mark)) is not None:
        return _outcome(kept, rows, recipe)
    interviewer = Interviewer.of(run, recipe, runs=runs)
    outcome = interviewer.ask(rows, f"Judging {run.name}")
    del interviewer
    gc.collect()  # the next model is opened soon; two at once may not fit
    folder.write_json(name, {"mark": mark, **_plain(outcome)})
    return outcome


def _kept(folder: Run, name: str, mark: str) -> dict[str, Any] | None:
    try:
        found = folder.read_json(name)
    except RunError:  # not asked yet, or damaged: it is asked again
        return None
    return found if isinstance(found, dict) and found.get("mark") == mark else None


def _plain(outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, Choices):
        return {"scores": outcome.scores.tolist()}
    return {
        "answers": outcome.answers,
        "log_likelihood": outcome.log_likelihood.tolist(),
        "tokens": outcome.tokens.tolist(),
    }


def _outcome(kept: dict[str, Any], rows: Sequence[Example], recipe: Recipe) -> Outcome:
    if "scores" in kept:
        return choices(recipe, rows, _floats(kept["scores"]))
    return Answers(
        [row.completion for row in rows],
        kept["answers"],
        _floats(kept["log_likelihood"]),
        np.array(kept["tokens"], dtype=np.int64),
        groups_of([row.group for row in rows]),
    )


def _floats(values: list[Any]) -> Any:
    """Numbers of a JSON file, in which an infinite one is null: nothing is less likely."""
    if values and isinstance(values[0], list):
        return np.array([_floats(line) for line in values])
    return np.array([-math.inf if value is None else value for value in values], dtype=np.float64)
