"""What the weights of a run were made with: they are opened, measured and shipped with that.

The recipe of a run folder is the one that was asked for last. Once training has ended, only the
weights' own recipe fits them, so it is kept beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from luthier.artifacts import Artifact, Evaluation, Plan, TrainSummary
from luthier.errors import ModelError, RunError
from luthier.recipe import ModelSection, Recipe
from luthier.run import Run, file_digest

_OF_A_MODEL = (".safetensors", ".gguf", ".json", ".jinja", ".model", ".txt", ".py")
"""How the names of files end that a model is opened from; others may change as they like."""


class BaseFile(BaseModel):
    """A file of the model that training started from."""

    size: int
    mtime_ns: int
    """Of an equal one the content need not be read again."""
    sha256: str


class MadeWith(Artifact):
    """What training worked with; written by it, last of all."""

    FILE = "train/made_with.json"
    recipe: Recipe
    """Resolved."""
    text: str
    """The recipe file's text."""
    lock: dict[str, Any]
    """Versions, hashes, seed and platform, as in lock.json."""
    device: str | None
    precision: Literal["float32", "frozen_bf16", "bf16_autocast", "fp16_autocast"] | None
    templates: list[dict[str, Any]]
    """Those the dataset was made with (`data/templates.json`)."""
    base: dict[str, BaseFile]
    """Files of a local base model; none where its name speaks for itself (hub, package)."""

    @classmethod
    def now(
        cls, run: Run, plan: Plan | None = None, base: Mapping[str, BaseFile] | None = None
    ) -> MadeWith:
        """What training would work with now.

        Args:
            run: its recipe and its lock file are read.
            plan: that training follows.
            base: what `base_files` found when the base model was opened.
        """
        templates, text = "data/templates.json", run.path / "recipe.yaml"
        built = (run.path / templates).is_file()
        return cls(
            recipe=run.recipe,
            text=text.read_text(encoding="utf-8", errors="replace") if text.is_file() else "",
            lock=run.read_json("lock.json"),
            device=plan.device if plan else None,
            precision=plan.precision if plan else None,
            templates=run.read_json(templates)["templates"] if built else [],
            base=dict(base or {}),
        )

    @classmethod
    def of(cls, run: Run) -> MadeWith:
        """What the weights of a run were made with; before it is trained, what they would be.

        Raises:
            RunError: it was trained and does not say.
        """
        if not run.is_done("train"):
            return cls.now(run)
        if not (run.path / cls.FILE).is_file():
            raise RunError(
                f"{run.path / cls.FILE} is missing: an earlier version of luthier trained the run, "
                "or the file was deleted, and the recipe may have changed since. Repeat "
                "`luthier train --force`."
            )
        return cls.load(run)


def recipe_of(run: Run, *, measured: bool = False) -> Recipe:
    """The recipe of a run's weights, with what is asked of them now.

    How weights are measured and shipped is no part of them: of `evaluate:`, `ship:` and
    `task.positive` the last word counts.

    Args:
        run: trained or not.
        measured: `evaluate:` as the run was evaluated with, where it was.
    """
    made, now = MadeWith.of(run).recipe, run.recipe
    changes: dict[str, Any] = {"evaluate": now.evaluate, "ship": now.ship}
    if made.labels == now.labels:
        changes["task"] = made.task.model_copy(update={"positive": now.task.positive})
    if measured and run.is_done("evaluate"):
        changes["evaluate"] = Evaluation.load(run).settings or now.evaluate
    return made.model_copy(update=changes)


def has_moved_on(run: Run) -> bool:
    """Whether the recipe asks for other weights now than the run has."""
    made, now = MadeWith.of(run).recipe, run.recipe
    return (made.model, made.train, made.seed) != (now.model, now.train, now.seed)


# --- the base model ----------------------------------------------------------------------------


def base_files(section: ModelSection, runs: Path) -> dict[str, BaseFile]:
    """What tells whether a local model, or that of another run, is still the same one.

    Args:
        section: the recipe's model.
        runs: where `run:NAME` is looked up.
    """
    return {
        name: BaseFile(
            size=path.stat().st_size, mtime_ns=path.stat().st_mtime_ns, sha256=file_digest(path)
        )
        for name, path in _files(section, runs).items()
    }


def base_of(run: Run, runs: Path) -> ModelSection:
    """The model a run was trained on; before it is trained, the recipe's.

    Args:
        run: trained or not.
        runs: where `run:NAME` is looked up.

    Raises:
        ModelError: its files are not those the run was trained on.
    """
    made = MadeWith.of(run)
    section = made.recipe.model
    found = _files(section, runs) if made.base else {}
    # Full weights replace those of the base, of which only the tokenizer is still needed.
    full = bool(made.base) and TrainSummary.load(run).kind == "full"
    changed = [
        name
        for name in sorted(made.base.keys() | found.keys())
        if not (full and name.endswith((".safetensors", ".gguf")))
        and not _is_same(made.base.get(name), found.get(name))
    ]
    if changed:
        raise ModelError(
            f"model '{section.name}' is no longer the one that {run.path} was trained on: "
            f"{', '.join(changed)} changed since. What was learned fits the former files only. Put "
            "those back, or train the run again with `luthier train RECIPE`."
        )
    return section


def _files(section: ModelSection, runs: Path) -> dict[str, Path]:
    """Files of a model that lies on this machine under its own name."""
    if section.name.startswith("run:"):
        base = Run.open(section.name.removeprefix("run:"), runs)
        base.require("train")
        path = base.path / TrainSummary.load(base).weights
    else:
        path = Path(section.name).expanduser()
    files = path.iterdir() if path.is_dir() else [path]
    return {p.name: p for p in sorted(files) if p.is_file() and p.name.endswith(_OF_A_MODEL)}


def _is_same(before: BaseFile | None, path: Path | None) -> bool:
    if before is None or path is None or before.size != path.stat().st_size:
        return False
    # A copy has another time, and may well be the same.
    return before.mtime_ns == path.stat().st_mtime_ns or before.sha256 == file_digest(path)
