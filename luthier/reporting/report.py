"""The reporting job: one self-contained HTML page about a run, from what lies in its folder."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any, TypeVar

from markupsafe import Markup

from luthier.artifacts import Artifact, DataStats, Evaluation, Plan, TrainSummary
from luthier.made_with import MadeWith, has_moved_on, recipe_of
from luthier.reporting import comparison, sections
from luthier.reporting.history import read_history
from luthier.reporting.mistakes import MAX_CHARACTERS, read_mistakes
from luthier.reporting.rendering import page_file, render
from luthier.reporting.verdict import judge, pending
from luthier.run import STAGES, Run, Stage

FILE = "report.html"
A = TypeVar("A", bound=Artifact)


def report(run: Run) -> Path:
    """Write `report.html`: what was asked, done and found, on one page.

    The page needs no network and no other file. Stages that have not finished are named as
    missing; what an earlier attempt left in their folders is not shown.

    Args:
        run: the run folder; only the recipe has to be there.

    Returns:
        The page's path. The same folder always gives the same page, byte for byte.

    Raises:
        RunError: a finished stage left a file that cannot be read.
    """
    made, recipe = MadeWith.of(run), recipe_of(run, measured=True)
    moved_on, asked = has_moved_on(run), run.read_json("asked.json")
    # The last words on `evaluate:` and `ship:` are no other training.
    word = made if moved_on else MadeWith.now(run)
    lock = {**made.lock, **{k: v for k, v in word.lock.items() if k.endswith("sha256")}}
    stats = _finished(run, "data", DataStats)
    plan = _finished(run, "plan", Plan)
    followed = None if moved_on else plan
    summary = _finished(run, "train", TrainSummary)
    found = _finished(run, "evaluate", Evaluation)
    history = read_history(run)
    mistakes = (
        read_mistakes(run.path / found.predictions_file)
        if found and found.task == "classification"
        else None
    )
    done = [stage for stage in STAGES if run.is_done(stage)]
    started = bool(history.steps) and summary is None

    page = _render(
        run_name=run.name,
        done=done,
        task=sections.task_sentence(recipe),
        verdict=judge(found) if found else pending(list(done), run.name, training=started),
        warnings=[f for f in followed.findings if f.severity != "note"] if followed else [],
        moved_on=moved_on,
        evaluation_notes=found.notes if found else [],
        asked=sections.asked(recipe, word.text, asked["overrides"], asked["notes"]),
        data=sections.data(stats) if stats else None,
        dataset_page=(run.path / "data" / "dataset.html").is_file(),
        planned=sections.plan(plan) if plan else None,
        training=sections.training(summary, history, followed, recipe)
        if summary or history.steps
        else None,
        evaluation=comparison.evaluation(found, recipe) if found else None,
        mistakes=mistakes,
        settings=sections.settings(run, recipe, lock),
    )
    run.write_text(FILE, page)
    return run.path / FILE


def _finished(run: Run, stage: Stage, kind: type[A]) -> A | None:
    """The artifact of a finished stage; None before that."""
    if not run.is_done(stage):
        return None
    return kind.load(run)


def _render(**variables: Any) -> str:
    script = page_file("filter.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return render(
        "report.html",
        script=Markup(script),
        script_hash=f"sha256-{digest}",
        max_characters=MAX_CHARACTERS,
        **variables,
    )
