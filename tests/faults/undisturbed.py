"""A run that nothing disturbed, and what the disturbed ones are compared with."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attempts import Attempts, Ended
from same_run import checkpoint_content, outcome
from trained_project import Project, make_project

from luthier.run import Run

TRAIN = (
    "train: {learning_rate: 1e-2, max_steps: 10, per_device_train_batch_size: 4, "
    "gradient_accumulation_steps: 2, lr_scheduler_type: cosine, warmup_ratio: 0.2, bf16: false, "
    "eval_steps: 3, save_steps: 2, lora: {r: 4, lora_alpha: 8, lora_dropout: 0.1}}"
)
"""10 optimizer steps in two epochs, with random numbers in each of them; validations after 3, 6, 9
and 10, checkpoints after 2, 4, 6, 8 and 10."""


@dataclass(frozen=True)
class Undisturbed:
    """A run that ended without an accident, and what it took."""

    project: Project
    outcome: dict[str, Any]
    last_checkpoint: dict[str, Any]
    planned: Path
    """A folder of runs where data and plan are done and nothing is trained."""
    seconds: dict[str, float]
    """Of `luthier train`: `whole`, and `planned` where data and plan are done already."""

    def begin(self, runs: Path, *, planned: bool = True) -> tuple[str | Path, ...]:
        """Make a folder of runs; returns the command that trains there."""
        if planned:
            shutil.copytree(self.planned, runs)
        return ("train", self.project.recipe, "--runs", runs)

    def require_same(self, runs: Path) -> None:
        """The run in a folder is equal to the undisturbed one, and nothing lies about."""
        run = Run(runs / "tiny")
        found = outcome(run)
        assert sorted(found) == sorted(self.outcome)
        for name, expected in self.outcome.items():
            assert found[name] == expected, name
        left = {path.name for path in (run.path / "train").iterdir()}
        assert left - {"adapter", "full"} == {"made_with.json", "summary.json"} and len(left) == 3


def succeeded(ended: Ended) -> Ended:
    """The attempt, which must have ended well."""
    assert ended.code == 0, ended.err
    return ended


def train_undisturbed(attempts: Attempts, folder: Path, model: Path, settings: str) -> Undisturbed:
    """Train in peace, several times.

    Args:
        attempts: makes the attempts.
        folder: for the project and its runs.
        model: what is fine-tuned.
        settings: the `train:` line of the recipe.
    """
    project = make_project(folder / "project", model)
    (old,) = (line for line in project.recipe.read_text().splitlines() if line.startswith("train:"))
    project.edit(old, settings)
    project.edit("promise_instruction_first", "plain")  # shorter
    project.edit("exporters: [adapter, merged]", "exporters: [merged]")  # also of full weights
    args = ("train", project.recipe, "--runs")
    planned, first, kept = (project.path / name for name in ("planned", "first", "kept"))
    succeeded(attempts.learn("plan", project.recipe, "--runs", planned))
    shutil.copytree(planned, first)
    succeeded(attempts.learn(*args, first))
    whole = succeeded(attempts.run(*args, project.path / "whole", job="train"))
    shutil.copytree(planned, project.path / "trained")
    trained = succeeded(attempts.run(*args, project.path / "trained", job="train", keep=kept))
    seconds = {"whole": whole.seconds, "planned": trained.seconds}
    found = outcome(Run(project.path / "trained/tiny"))
    return Undisturbed(project, found, checkpoint_content(kept), planned, seconds)
