"""The two datasets of a comparison: recipes, built runs or files, under one set of settings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from luthier import pipeline
from luthier.console import say
from luthier.data.config import SourceConfig
from luthier.data.files import sources
from luthier.errors import LuthierError
from luthier.made_with import recipe_of
from luthier.recipe import Loaded, Recipe, load
from luthier.run import Run

SideKey = Literal["a", "b"]
COMPARED = ("model", "task", "train", "evaluate")
"""Sections that must be the same on both sides: whatever is left is due to the rows."""
_OF_A_FILE = ("input", "output", "text", "messages", "fields", "format", "template")
"""What of a recipe's first source says how a file in its place is read."""


class Settings(NamedTuple):
    """What all trainings of a comparison have in common."""

    recipe: Recipe
    root: Path
    """Where its relative paths start from."""
    name: str
    """Whose it is, as it was given."""
    loaded: Loaded | None
    """None where it is that of a run."""


class Side(NamedTuple):
    """One of the two datasets, built."""

    key: SideKey
    given: str
    run: Run
    """Whose data stage is done."""


class Asked(NamedTuple):
    """A side as it was given, before anything is built."""

    key: SideKey
    given: str
    kind: str
    """recipe, run or file."""
    loaded: Loaded | None = None
    run: Run | None = None

    @property
    def settings(self) -> Settings | None:
        """The settings it brings; a file brings none."""
        if self.loaded is not None:
            root = self.loaded.path.parent
            return Settings(self.loaded.recipe, root, self.given, self.loaded)
        if self.run is not None:
            return Settings(recipe_of(self.run), self.run.data_root, self.given, None)
        return None


def read(key: SideKey, given: str, runs: Path, overrides: Sequence[str]) -> Asked:
    """Find out what a side is.

    Args:
        key: which side.
        given: a recipe (.yaml), a data file, `luthier:NAME`, or a run by name or folder.
        runs: where runs are kept.
        overrides: `key=value` for recipes.

    Raises:
        LuthierError: it is none of these, or cannot be read.
    """
    suffix = Path(given).suffix.lower()
    if suffix in (".yaml", ".yml"):
        return Asked(key, given, "recipe", loaded=load(given, overrides))
    if given.startswith(sources.PACKAGED) or suffix in sources.SUFFIXES:
        path = sources.source_file(SourceConfig(path=given), Path())
        assert path is not None, "a path, not a hub set"
        sources.require_readable(path, given)
        return Asked(key, given, "file")
    run = Run.open(given, runs)
    run.require("data")
    return Asked(key, given, "run", run=run)


def common_settings(
    one: Asked, other: Asked, recipe: Path | None, overrides: Sequence[str]
) -> tuple[Settings, list[str]]:
    """The settings of all trainings, and what of the sides' own gives way to them.

    Args:
        one: side A; its settings are taken unless `recipe` is given.
        other: side B.
        recipe: `--recipe`.
        overrides: `key=value` for it.

    Returns:
        The settings, and a sentence for each setting in which a side differs.

    Raises:
        LuthierError: no side has settings, or they differ and nobody said whose count.
    """
    if recipe is not None:
        loaded = load(recipe, overrides)
        settings = Settings(loaded.recipe, loaded.path.parent, str(recipe), loaded)
    elif (own := one.settings) is not None:
        settings = own
    else:
        raise LuthierError(
            f"{one.given} is a data file and says nothing of task, model or training: name the "
            "recipe that both are trained by with --recipe RECIPE."
        )
    if overrides and settings.loaded is None:
        raise LuthierError(
            f"{' '.join(overrides)}: overrides change a recipe, and {settings.name} is a run. Name "
            "its recipe with --recipe RECIPE."
        )
    overridden: list[str] = []
    refused: list[str] = []
    for side in (one, other):
        if (theirs := side.settings) is None:
            continue
        _require_same_task(side, theirs.recipe, settings)
        for key, (value, common) in _differing(theirs.recipe, settings.recipe).items():
            said = f"{side.given}: {key} is {value!r}, and {common!r} in {settings.name}"
            (overridden if recipe is not None else refused).append(said)
    if refused:
        listed = "\n".join(f"  {line}" for line in refused)
        raise LuthierError(
            "only data: may differ between the two, or nobody could say what a difference comes "
            f"from:\n{listed}\nMake them equal, or name the recipe whose settings count for both "
            f"with --recipe {one.given if one.kind == 'recipe' else 'RECIPE'}."
        )
    return settings, [f"{said}: that of {settings.name} is taken" for said in overridden]


def require_own_runs(settings: Settings, one: Asked, other: Asked, runs: Path) -> None:
    """Raise a LuthierError where two recipes have one name: they would share a run's folder."""
    given = [(side.given, side.loaded) for side in (one, other)] + [
        (settings.name, settings.loaded)
    ]
    seen: dict[Path, tuple[str, Path]] = {}
    for name, loaded in given:
        if loaded is None:
            continue
        run, path = Run.of(loaded, runs).path, loaded.path.resolve()
        first, where = seen.setdefault(run, (name, path))
        if where != path:
            raise LuthierError(
                f"{first} and {name} both have the name '{loaded.recipe.name}', so each would be "
                f"built over the other in {run}. Give one of them another name."
            )


def _require_same_task(side: Asked, theirs: Recipe, settings: Settings) -> None:
    """Raise a LuthierError where no setting could make two tasks one."""
    if theirs.task.kind != settings.recipe.task.kind:
        raise LuthierError(
            f"{side.given} is a {theirs.task.kind} task and {settings.name} a "
            f"{settings.recipe.task.kind} task; only datasets for the same task can be compared."
        )
    if set(theirs.labels) != set(settings.recipe.labels):
        raise LuthierError(
            f"the label sets differ: {', '.join(theirs.labels)} in {side.given}, "
            f"{', '.join(settings.recipe.labels)} in {settings.name}. Rename labels in the "
            "rows, so that both have the same (task.labels)."
        )


def _differing(theirs: Recipe, common: Recipe) -> dict[str, tuple[Any, Any]]:
    """Settings outside of `data:` by their keys, with both values."""
    one, other = (
        dict(_leaves(recipe.model_dump(mode="json", include=set(COMPARED)), ""))
        for recipe in (theirs, common)
    )
    return {
        key: (one.get(key), other.get(key))
        for key in sorted(one.keys() | other.keys())
        if one.get(key) != other.get(key)
    }


def data_differences(one: Run, other: Run) -> list[str]:
    """Keys of `data:` in which the recipes of two builds differ."""
    first, second = (
        dict(_leaves(run.recipe.model_dump(mode="json", include={"data"}), ""))
        for run in (one, other)
    )
    return sorted(
        {
            ".".join(key.split(".")[:2])
            for key in first.keys() | second.keys()
            if first.get(key) != second.get(key)
        }
    )


def _leaves(value: Any, at: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{at}.{key}" if at else str(key))
    else:
        yield at, value


# --- building ----------------------------------------------------------------------------------


def built(side: Asked, settings: Settings, folder: Path, name: str, runs: Path) -> Side:
    """Bring a side's dataset up to date, as a run of its own.

    Args:
        side: as it was given.
        settings: say how a bare file is read.
        folder: of the comparison, for the recipe of a file.
        name: of the comparison.
        runs: where runs are kept.

    Raises:
        DataError: its rows cannot be read or used.
    """
    if side.run is not None:
        return Side(side.key, side.given, side.run)
    loaded = side.loaded or _recipe_of_file(side, settings, folder, name)
    say(f"{side.key.upper()}: {side.given}", style="bold")
    run, _ = pipeline.bring_up_to(loaded, "data", runs=runs)
    return Side(side.key, side.given, run)


def _recipe_of_file(side: Asked, settings: Settings, folder: Path, name: str) -> Loaded:
    """The common recipe with a file in place of its sources.

    None of the file's rows is kept for a test or a temperature: held out are other rows.
    """
    like = settings.recipe.data.sources[0].model_dump(mode="json", exclude_unset=True)
    packaged = side.given.startswith(sources.PACKAGED)
    source = {key: value for key, value in like.items() if key in _OF_A_FILE}
    source["path"] = side.given if packaged else str(Path(side.given).resolve())
    tree = settings.recipe.model_dump(mode="json", exclude_unset=True)
    tree["data"] = with_files_found(
        {**tree["data"], "sources": [source], "mix": None}, settings.root
    )
    tree["data"]["split"] = {**tree["data"].get("split", {}), "test": 0, "calibration": 0}
    tree["name"] = f"{name}-{side.key}"
    return write_recipe(folder / f"{side.key}.yaml", tree, f"{side.given}, read as {settings.name}")


def write_recipe(path: Path, tree: Mapping[str, Any], what: str) -> Loaded:
    """Write a recipe of a comparison (JSON, which is YAML) and read it as any other."""
    text = json.dumps(tree, indent=2, ensure_ascii=False)
    said = " ".join(what.split())
    Run(path.parent).write_text(path.name, f"# {said}; written by luthier compare-data\n{text}\n")
    return load(path)


def with_files_found(data: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """A `data:` section whose templates and files of filters are found from anywhere."""
    from luthier.data.intake import FILTERS

    found = dict(data)
    if "template" in found:
        found["template"] = _template(found["template"], root)
    if found.get("sources"):
        found["sources"] = [
            {**source, "template": _template(source["template"], root)}
            if source.get("template") is not None
            else source
            for source in found["sources"]
        ]
    if found.get("filters"):
        found["filters"] = [
            {
                key: _files(value, root)
                if key in getattr(FILTERS.load(each["use"]), "FILES", ())
                else value
                for key, value in each.items()
            }
            for each in found["filters"]
        ]
    return found


def _template(given: Any, root: Path) -> Any:
    if isinstance(given, list):
        return [_template(name, root) for name in given]
    if not isinstance(given, str):
        return given
    file, joint, part = given.partition("#")
    if not file.endswith((".yaml", ".yml", ".json")):
        return given
    return f"{(root / Path(file).expanduser()).resolve()}{joint}{part}"


def _files(given: Any, root: Path) -> Any:
    if isinstance(given, list):
        return [_files(one, root) for one in given]
    if not isinstance(given, str) or given.startswith(sources.PACKAGED):
        return given
    return str((root / Path(given).expanduser()).resolve())
